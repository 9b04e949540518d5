"""Bundles for C, built and compared with Python. For the tests of the C library."""

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from posert import estimate, open_model
from posert.export.embed import bundle as embedded
from posert.export.embed import library
from posert.export.embed.bundle import bundle
from posert.poses import Frame
from posert.postprocess.kernels import sources
from posert.postprocess.kernels.build import TARGETS, Target

PLAIN = ("-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-g", "-O1", "-ffp-contract=off")
SANITIZED = (*PLAIN, "-fsanitize=address,undefined", "-fno-sanitize-recover")
SIZES = [(120, 90), (90, 160), (33, 47), (640, 360)]


@dataclass(frozen=True)
class How:
    """How the example runs: with which ONNX Runtime, another example than the folder's, words before the command."""

    runtime: Path | None = None
    example: Path | None = None
    emulator: tuple[str, ...] = ()


@cache
def _making() -> ModuleType | None:
    """`wheels/kernels.py`, which keeps what it compiled; None without numba."""
    spec = spec_from_file_location("wheels_kernels", sources.ROOT / "wheels" / "kernels.py")
    if find_spec("numba") is None or spec is None or spec.loader is None:
        return None
    making = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(making)
    return making


@cache
def all_kernels(target: Target) -> Path:
    """Every kernel as one object for a target, also for one that `bundle` does not know."""
    made = _making().compiled([target])[target]  # type: ignore[union-attr]
    assert len(made) == 1
    return Path(made[0])


_packaged = embedded.packaged
if find_spec("numba") is not None:  # as in a wheel, which brings the object of every kernel along
    embedded.packaged = lambda name: _packaged(name) or all_kernels(TARGETS[name])


def built(model: str | Path, folder: Path, **how: Any) -> Path:
    bundle(model, folder, **how)
    subprocess.run(["make", "-s", "-C", folder], check=True)
    return folder


def noise() -> list[np.ndarray]:
    """Pictures of odd sizes."""
    rng = np.random.default_rng(0)
    return [cv2.blur(rng.integers(0, 255, (h, w, 3), np.uint8), (5, 5)) for w, h in SIZES]


def pictures(folder: Path) -> list[np.ndarray]:
    """The development photos if they are here, then noise."""
    photos = sorted(folder.glob("media/coco100/images/*.jpg"))[:6]
    return [picture for photo in photos if (picture := cv2.imread(str(photo))) is not None] + noise()


def run_example(folder: Path, images: list[np.ndarray], how: How) -> list[list[dict[str, object]]]:
    paths = [folder / f"{number}.ppm" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        assert cv2.imwrite(str(path), image)
    command = [*how.emulator, how.example or next(folder.glob("*_example")), folder]
    command += [how.runtime or library.onnxruntime_library(), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line)["people"] for line in done.stdout.splitlines()]


def assert_same_people(model: str | Path, folder: Path, images: list[np.ndarray], **how: Any) -> int:
    """Compares bits; returns the number of people. `how`: see `How`."""
    frames = [Frame(image, number, 0.0, "video") for number, image in enumerate(images)]
    total = 0
    with open_model(model, device="cpu", threads=1) as opened:
        for result, people in zip(estimate(opened, frames), run_example(folder, images, How(**how)), strict=True):
            poses = result.poses
            assert len(people) == len(poses)
            total += len(people)
            named = {"keypoints": poses.keypoints, "score": poses.scores, "box_xyxy": poses.boxes_xyxy}
            for name, expected in named.items():
                got = np.array([person[name] for person in people], np.float32).reshape(expected.shape)
                assert got.tobytes() == expected.tobytes(), (result.frame_index, name)
    return total


def assert_same_bits(folder: Path, images: list[np.ndarray], runtime: Path | None = None) -> int:
    """As `assert_same_people`, of what the library itself gives, which may be no numbers too."""
    frames = [Frame(image, number, 0.0, "video") for number, image in enumerate(images)]
    total = 0
    with (
        open_model(folder / library.main_file(folder), device="cpu", threads=1) as opened,
        library.NativeModel(folder, library=runtime) as ours,
    ):
        for result in estimate(opened, frames):
            theirs = ours.estimate(images[result.frame_index])
            total += len(theirs)
            for name in ("keypoints", "scores", "boxes_xyxy"):
                expected = getattr(result.poses, name)
                assert getattr(theirs, name).tobytes() == expected.tobytes(), (result.frame_index, name)
    return total
