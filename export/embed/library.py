"""A built C bundle, used from Python: to compare both, and to measure them on the same frames.

Owns the ctypes view of `posert.h`. Knows nothing of how the library works.
"""

import ctypes
import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert import estimate
from posert.errors import PosertError
from posert.export.embed.table import params_in
from posert.poses import Frame, Poses, no_poses
from posert.runtime.devices import import_onnxruntime
from posert.runtime.options import ModelOptions
from posert.runtime.session import open_model

BGR, RGB, BGRA, RGBA = range(4)


class _Follow(ctypes.Structure):
    _fields_ = [
        ("rule", ctypes.c_int), ("share", ctypes.c_double), ("slack", ctypes.c_double), ("patience", ctypes.c_int),
        ("cut", ctypes.c_double),
    ]  # fmt: skip


class _Options(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t), ("folder", ctypes.c_char_p), ("onnxruntime", ctypes.c_char_p),
        ("threads", ctypes.c_int), ("detect_every", ctypes.c_int), ("no_runtime", ctypes.c_int),
        ("follow", _Follow),
    ]  # fmt: skip


class Image(ctypes.Structure):
    """`posert_image`."""

    _fields_ = [
        ("pixels", ctypes.c_void_p), ("width", ctypes.c_int), ("height", ctypes.c_int), ("stride", ctypes.c_ssize_t),
        ("format", ctypes.c_int),
    ]  # fmt: skip


class People(ctypes.Structure):
    """`posert_people`."""

    _fields_ = [
        ("count", ctypes.c_int), ("keypoint_count", ctypes.c_int),
        ("keypoints", ctypes.POINTER(ctypes.c_float)), ("scores", ctypes.POINTER(ctypes.c_float)),
        ("boxes_xyxy", ctypes.POINTER(ctypes.c_float)),
    ]  # fmt: skip

    def poses(self) -> Poses:
        """A copy."""
        n, k = self.count, self.keypoint_count
        if n == 0:
            return no_poses(k)
        shapes = ((self.keypoints, (n, k, 3)), (self.scores, (n,)), (self.boxes_xyxy, (n, 4)))
        return Poses(*(np.ctypeslib.as_array(pointer, shape).copy() for pointer, shape in shapes))


def onnxruntime_library() -> Path:
    """The shared library inside the installed ONNX Runtime package.

    Raises:
        PosertError: the package has none of its own (older wheels).
    """
    folder = Path(str(import_onnxruntime().__file__)).parent / "capi"
    patterns = ("libonnxruntime.so.*", "libonnxruntime.*.dylib", "onnxruntime.dll")
    if found := [file for pattern in patterns for file in sorted(folder.glob(pattern))]:
        return found[0]
    raise PosertError(
        f"{folder} holds no shared library of ONNX Runtime", "install a newer onnxruntime (1.20 or later)"
    )


class NativeModel(AbstractContextManager["NativeModel"]):
    """An open C library; one handle. Close it, or use it in a `with`."""

    def __init__(
        self,
        folder: Path,
        *,
        library: Path | None = None,
        threads: int = 1,
        detect_every: int = 1,
        no_runtime: bool = False,
        follow: Mapping[str, float] | None = None,
    ) -> None:
        """Raises PosertError when it is not built or does not open. follow: fields of `posert_follow`, over its own."""
        built = next(iter(sorted(folder.glob("lib*.so"))), None)  # libposert.so, or another prefix
        if built is None:
            raise PosertError(f"there is no library in {folder}", f"build it with: make -C {folder}")
        self._c, self._prefix = ctypes.CDLL(str(built.resolve())), built.stem.removeprefix("lib")
        for name, arguments in {"open": 2, "estimate": 3, "reset": 1, "close": 1, "error": 1}.items():
            self._function(name).argtypes = [ctypes.c_void_p] * arguments
        self._function("error").restype = ctypes.c_char_p
        self._handle = ctypes.c_void_p()
        ort = None if no_runtime else str(library or onnxruntime_library()).encode()
        self._function("default_options").restype = _Options
        own = self._function("default_options")().follow
        for field, value in (follow or {}).items():
            setattr(own, field, value)
        options = _Options(ctypes.sizeof(_Options), str(folder).encode(), ort, threads, detect_every, no_runtime, own)
        self._check(self._function("open")(ctypes.byref(self._handle), ctypes.byref(options)))

    def _function(self, name: str) -> Any:
        return getattr(self._c, f"{self._prefix}_{name}")

    def _check(self, status: int) -> None:
        if status:
            said = self._function("error")(self._handle).decode()
            raise PosertError(f"the C library says: {said} (status {status})")

    def estimate(self, pixels: NDArray[np.uint8], form: int = BGR) -> Poses:
        """The people of u8 [H,W,3 or 4]; rows may have gaps between them (`pixels.strides[0]`)."""
        height, width, channels = pixels.shape
        if pixels.strides[1:] != (channels, 1):
            raise ValueError("the pixels of a row have gaps")
        image = Image(pixels.ctypes.data, width, height, pixels.strides[0], form)
        people = People()
        self._check(self._function("estimate")(self._handle, ctypes.byref(image), ctypes.byref(people)))
        return people.poses()

    def reset(self) -> None:
        """Forget the last picture."""
        self._function("reset")(self._handle)

    def close(self) -> None:
        """Free the handle."""
        self._function("close")(self._handle)
        self._handle = ctypes.c_void_p()

    def __exit__(self, *_: object) -> None:
        self.close()


def compare(folder: Path, pictures: Iterable[Frame]) -> tuple[int, int, float]:
    """C and Python on the same frames: how many frames and people, and the largest difference of a coordinate (px) or a
    score, infinite if the people are not the same number.

    One thread each, and the parameters that the library was written with; where another source begins, both forget the
    last people.

    Raises:
        PosertError: the library does not open, or the source cannot be read.
    """
    model, kept = folder / main_file(folder), list(pictures)
    params = params_in((folder / "model.c").read_text(encoding="utf-8"))
    people, largest, source = 0, 0.0, ""
    options = ModelOptions(device="cpu", threads=1, params=params, parts=part_files(folder))
    with NativeModel(folder) as native, open_model(model, options) as python:
        for frame, result in zip(kept, estimate(python, kept), strict=True):
            if frame.source != source:
                native.reset()
            source = frame.source
            own, theirs = result.poses, native.estimate(np.ascontiguousarray(frame.bgr))
            people += len(own)
            if len(own) != len(theirs):
                largest = float("inf")
                continue
            for name in ("keypoints", "scores", "boxes_xyxy"):
                apart = np.abs(getattr(own, name) - getattr(theirs, name))
                largest = max(largest, float(apart.max(initial=0)))
    return len(kept), people, largest


def main_file(folder: Path) -> str:
    """The model's own file: the last network that finds people, as the generated table has it."""
    return [name for region, name in _stage_files(folder) if region != "PARTS"][-1]


def part_files(folder: Path) -> tuple[Path, ...]:
    """The files of the networks for parts of people."""
    return tuple(folder / name for region, name in _stage_files(folder) if region == "PARTS")


def _stage_files(folder: Path) -> list[tuple[str, str]]:
    text = (folder / "model.c").read_text(encoding="utf-8")
    return re.findall(r'\.region = \w+?__(\w+),\s*\.file = "([^"]+)"', text)
