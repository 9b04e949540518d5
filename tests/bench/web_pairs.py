"""A top-down pair in a page beside Python, and Python beside Python whose networks add up in another order.

python tests/bench/web_pairs.py MODEL.onnx PICTURE...: how many keypoints are .001 px and .1 px apart, and the most
px; of the page, and of Python with ONNX Runtime's optimisation of graphs off, which takes other kernels.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
import numpy as np
import onnxruntime
from browser import browser
from web_browser import LOOKING, python, ready, serving

from posert.export.web.site import write_site
from posert.poses import Poses
from posert.runtime.session import Model, open_model


def unoptimised(model: Model) -> None:
    """Exchanges the sessions."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    for name, file in model.files.items():
        model._sessions[name] = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def apart(everybody: list[Poses], others: list[np.ndarray]) -> str:
    """What lies between keypoints [N,K,3] of the same pictures."""
    pairs = list(zip((poses.keypoints for poses in everybody), others, strict=True))
    same = [np.abs(one - other)[..., :2].max(-1).ravel() for one, other in pairs if len(one) == len(other)]
    far = np.concatenate(same)
    return (
        f"{far.size} keypoints, {np.count_nonzero(far >= 1e-3)} of them .001 px apart or more, "
        f"{np.count_nonzero(far >= 0.1)} .1 px, the most {far.max():.4f} px; pictures with other people: "
        f"{len(pairs) - len(same)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="a top-down pair in a page beside Python")
    parser.add_argument("model", type=Path)
    parser.add_argument("picture", nargs="+", type=Path)
    options = parser.parse_args()
    pictures = [cv2.imread(str(picture)) for picture in options.picture]
    with open_model(options.model, device="cpu", threads=1) as model:
        own = [python(model, picture) for picture in pictures]
        unoptimised(model)
        otherwise = [python(model, picture).keypoints for picture in pictures]
        shape = (-1, *own[0].keypoints.shape[1:])
    with tempfile.TemporaryDirectory() as scratch, browser() as chromium:
        folder = Path(scratch)
        write_site([options.model], folder)
        with serving(folder) as (address, _):
            tab, found = ready(chromium.new_page(), address), []
            for picture in pictures:
                name = f"{len(found)}.png"  # others, for the site's service worker keeps each
                cv2.imwrite(str(folder / name), picture)
                people = tab.evaluate(LOOKING, [options.model.name, name, None])
                found.append(np.array([person["keypoints"] for person in people]).reshape(shape))
    print(f"the page: {apart(own, found)}\nPython, unoptimised: {apart(own, otherwise)}")


if __name__ == "__main__":
    main()
