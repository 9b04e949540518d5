"""The site of `posert web` measured in headless Chromium: frames a second, the network's share, the page's long tasks.

python tests/bench/web.py [MODEL...] [--seconds 5]: each model with one and with two threads on the drawn clip, as a
video that is never waited for; Python beside it with as many threads. Needs posert.wasm, playwright, Chromium.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
import numpy as np
from browser import browser
from web_browser import serving

from posert.export.nano import clip
from posert.export.web.site import write_site
from posert.poses import Frame
from posert.runtime.loop import People
from posert.runtime.session import open_model

IN_PAGE = """async ([name, seconds]) => {
  const whole = await (await fetch(name)).blob();
  const video = Object.assign(document.createElement('video'), { muted: true, loop: true });
  video.src = URL.createObjectURL(whole);
  await video.play();
  const { model } = posert, ms = { total: [], network: [], pixels: [] }, long = [];
  for (let i = 0; i < 5; i++) await model.estimate(video);
  const watch = new PerformanceObserver((list) => long.push(...list.getEntries().map((one) => one.duration)));
  watch.observe({ type: 'longtask' });
  const begun = performance.now();
  let frames = 0;
  for (; performance.now() - begun < 1000 * seconds; frames++) {
    const people = await model.estimate(video);
    for (const step of Object.keys(ms)) ms[step].push(people.ms[step]);
  }
  const took = performance.now() - begun;
  await new Promise((done) => setTimeout(done, 300));
  const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
  const medians = Object.fromEntries(Object.entries(ms).map(([step, values]) => [step, median(values)]));
  return { rate: 1000 * frames / took, ...medians, long, threads: model.threads };
}"""


def in_python(model: Path | str, threads: int, seconds: float) -> tuple[float, float]:
    """Frames a second, and the median ms of the networks, on pictures that are there already."""
    frames = [Frame(np.ascontiguousarray(clip.render(4 * i)[0]), i, i / 25) for i in range(20)]
    with open_model(model, device="cpu", threads=threads) as opened:
        people = People(opened)
        for frame in frames[:5]:
            people([frame])
        begun, network, count = time.perf_counter(), [], 0
        while time.perf_counter() - begun < seconds:
            ((_, result),) = people([frames[count % len(frames)]])
            network.append(result.timings_ms["run"])
            count += 1
        return count / (time.perf_counter() - begun), float(np.median(network))


def main() -> None:
    parser = argparse.ArgumentParser(description="measure the site of posert web")
    parser.add_argument("model", nargs="*", default=["nano"])
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_site(options.model, folder)
        writer = cv2.VideoWriter(
            str(folder / "walk.webm"), cv2.VideoWriter.fourcc(*"VP80"), 25, (clip.WIDTH, clip.HEIGHT)
        )
        for index in range(50):
            writer.write(clip.render(4 * index)[0])
        writer.release()
        with serving(folder) as (address, _), browser() as chromium:
            for model in options.model:
                for threads in (1, 2):
                    tab = chromium.new_page()
                    tab.goto(f"{address}?threads={threads}")
                    tab.wait_for_selector("body[data-ready]", timeout=60_000)
                    name = Path(model).name if str(model) != "nano" else "nano.onnx"
                    tab.evaluate(f"posert.open({name!r})")
                    said = tab.evaluate(IN_PAGE, ["walk.webm", options.seconds])
                    tab.close()
                    rate, network = in_python(model, threads, options.seconds)
                    print(
                        f"{name}, {said['threads']} threads: {said['rate']:.1f} frames/s, {said['total']:.1f} ms each, "
                        f"{said['network']:.1f} of them the network, {said['pixels']:.1f} reading pixels; long tasks "
                        f"{[round(ms) for ms in said['long']]}; Python {rate:.1f} frames/s, network {network:.1f} ms",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
