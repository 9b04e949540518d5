"""A job of a million clips: planning, going on with it, and asking how far it is, in processes of their own.

The list is a Parquet file of (path, start, stop, id) over one video; the model is `tests/tiny.py`'s. The finished job's
manifest is written by posert itself, from outcomes made here, of which every tenth brings the rows of one person.

    python tests/bench/million.py [--clips 1000000]

Bars for a million: planning under 30 s and 500 MB, `--resume` under 30 s, `posert jobs status` under 2 s.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
import clips
import media
import tiny

MEASURED = """
import re, sys
from posert.runtime.jobs import pool
if sys.argv.pop(1) == "plan":  # everything but the work
    pool.run_anywhere = lambda *_: (outcome for outcome in ())
from posert.cli import main
try:
    main()
finally:
    said = open("/proc/self/status").read()  # getrusage also counts what the parent had
    print(int(re.search(r"VmHWM:\\s+(\\d+)", said)[1]) / 1024, file=sys.stderr)
"""


def measured(what: str, *words: object) -> tuple[float, float, str]:
    """Seconds, MB at the peak and standard output of `posert ...` in a new process."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, what, *map(str, words)], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stderr)
    return seconds, float(done.stderr.split()[-1]), done.stdout


def a_list(folder: Path, count: int) -> Path:
    """So many clips of half a second, each from another moment of one video."""
    import pyarrow
    from pyarrow.parquet import write_table

    source, starts = str(media.video(folder / "walk.mp4", 12)), [number / 100 for number in range(count)]
    ids = [f"walk/{number:07}" for number in range(count)]
    columns = {"path": [source] * count, "start": starts, "stop": [s + 0.5 for s in starts], "id": ids}
    write_table(pyarrow.table(columns), folder / "list.parquet")
    return folder / "list.parquet"


def outcomes(todo: Any) -> Iterator[Any]:
    """What becomes of each job: one in a hundred fails, one in ten shows a person."""
    from dataclasses import replace

    one, none, bad = clips.done(todo[0], 2), replace(clips.done(todo[0], 1), rows=b""), clips.failed(todo[0])
    for number, job in enumerate(todo):
        yield replace(bad if number % 100 == 99 else none if number % 10 else one, job=job)


def finish(folder: Path, source: str) -> float:
    """Writes the manifest and the dataset of the whole job; seconds of the processor."""
    from posert.runtime.jobs.ledger import Ledger
    from posert.runtime.jobs.planning import plan
    from posert.runtime.jobs.recipe import Recipe, Settings

    ledger = Ledger(folder / "out", Recipe(str(folder / "model.onnx"), Settings(form="parquet")))
    jobs = plan([source], folder / "out", None, "parquet", dataset=True)
    todo = ledger.begin(jobs, resume=False)
    began = time.process_time()
    for outcome in outcomes(todo):
        ledger.add(outcome)
    ledger.end(jobs)
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=1_000_000)
    count = parser.parse_args().clips
    with tempfile.TemporaryDirectory(prefix="posert-") as place:
        folder = Path(place)
        source = f"@{a_list(folder, count)}"
        infer = ("infer", tiny.bright_spot(folder / "model.onnx"), source, "-o", folder / "out")
        infer += ("--format", "parquet", "--partition", "size", "--quiet")
        seconds, most, _ = measured("plan", *infer[:4], folder / "planned", *infer[5:])
        print(f"{count} clips: planning {seconds:.1f} s, {most:.0f} MB", flush=True)
        seconds = finish(folder, source)
        print(f"finishing {seconds:.1f} s of the processor, {seconds / count * 1e6:.0f} us a clip", flush=True)
        seconds, most, _ = measured("plan", *infer, "--resume")
        print(f"--resume {seconds:.1f} s, {most:.0f} MB", flush=True)
        seconds, most, said = measured("status", "jobs", "status", folder / "out", "--json")
        print(f"jobs status {seconds:.2f} s, {most:.0f} MB: {json.loads(said)['done']} clips done")


if __name__ == "__main__":
    main()
