"""What the rounding of ONNX Runtime for the web does to people: the same pictures, outputs of both runtimes, decoded.

python tests/bench/web_rounding.py NODE_MODULES MODEL.onnx PICTURE...: each network in turn runs in ONNX Runtime and in
NODE_MODULES's onnxruntime-web (Node), the others in ONNX Runtime; Python's decoders are fed with either. Said are the
largest differences, and which keypoints move in one step: the outputs are led from one runtime's to the other's in
STEPS parts, and a decision between two nearly equal values shows as one part that has it all.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from posert.poses import Frame
from posert.runtime.loop import People
from posert.runtime.session import Model, open_model

RUN = Path(__file__).parents[1] / "web_run.mjs"
STEPS, MOVED = 64, 1e-3
Outputs = list[NDArray[np.float32]]


class InBoth:
    """A session's stand-in, which says what lies `share` of the way from its outputs to the web's."""

    def __init__(self, session: object, file: Path, modules: Path) -> None:
        self.session, self.file, self.modules, self.share = session, file, modules, 0.0
        self.known: dict[bytes, tuple[Outputs, Outputs]] = {}

    def __getattr__(self, name: str) -> object:
        return getattr(self.session, name)

    def run(self, fetch: list[str], feeds: dict[str, NDArray[np.generic]]) -> Outputs:
        key = b"".join(array.tobytes() for array in feeds.values())
        if self.share == 0 or key not in self.known:
            own = self.session.run(fetch, feeds)  # type: ignore[attr-defined]
            if self.share == 0:
                return own
            self.known[key] = own, self.on_the_web(fetch, feeds, own)
        return [a + np.float32(self.share) * (b - a) for a, b in zip(*self.known[key], strict=True)]

    def on_the_web(self, fetch: list[str], feeds: dict[str, NDArray[np.generic]], own: Outputs) -> Outputs:
        (array,) = feeds.values()
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "network.onnx"
            file.symlink_to(self.file.resolve())
            about = {"shape": array.shape, "type": str(array.dtype), "outputs": fetch}
            Path(f"{file}.json").write_text(json.dumps(about))
            Path(f"{file}.bin").write_bytes(array.tobytes())
            subprocess.run(["node", RUN, file], cwd=self.modules.parent, check=True)
            return [np.fromfile(f"{file}.{i}.out", np.float32).reshape(each.shape) for i, each in enumerate(own)]


def measured(model: Model, both: InBoth, picture: Path) -> str:
    """What one network's rounding does in a picture."""
    frame, path = Frame(np.ascontiguousarray(cv2.imread(str(picture))), 0, 0, str(picture)), []
    both.known.clear()
    for step in range(STEPS + 1):
        both.share = step / STEPS
        path.append(People(model)([frame])[0][1].poses)
    both.share = 0.0
    outputs = [pair for own, web in both.known.values() for pair in zip(own, web, strict=True)]
    rounding = max((float(np.abs(a - b).max() / np.abs(a).max()) for a, b in outputs), default=0.0)
    said = f"outputs {rounding:.1e} apart"
    if len({len(poses) for poses in path}) > 1:
        return f"{said}; {len(path[0])} people, {len(path[-1])} on the web"
    points = np.array([poses.keypoints[..., :2] for poses in path])
    moved, parts = np.abs(points[-1] - points[0]).max(-1), np.abs(np.diff(points, axis=0)).max(-1).max(0)
    jumps = (moved > MOVED) & (parts > 0.99 * moved)
    scored = zip(moved[jumps], path[0].keypoints[jumps][:, 2], strict=True)
    each = ", ".join(f"{px:.2f} px (score {score:.2f})" for px, score in scored)
    rest = moved[~jumps].max(initial=0)
    return f"{said}; {moved.size} keypoints, in one step {each or 'none'}; the others at most {rest:.5f} px"


def main() -> None:
    parser = argparse.ArgumentParser(description="what the rounding of ONNX Runtime for the web does to people")
    parser.add_argument("modules", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("picture", nargs="+", type=Path)
    options = parser.parse_args()
    with open_model(options.model, device="cpu", threads=1) as model:
        both = {name: InBoth(each, model.files[name], options.modules) for name, each in model._sessions.items()}
        model._sessions.update(both)  # type: ignore[arg-type]
        for picture in options.picture:
            for name, each in both.items():
                print(f"{picture.name}, {name}: {measured(model, each, picture)}", flush=True)


if __name__ == "__main__":
    main()
