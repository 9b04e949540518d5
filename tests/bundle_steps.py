"""The C library in steps, with Python's ONNX Runtime as the network. For the tests of the C library."""

import ctypes
import struct
from pathlib import Path

import numpy as np
import onnxruntime

from posert.export.embed.library import BGR, Image, NativeModel, People
from posert.poses import Poses

DTYPES = (np.float32, np.uint8, np.int32, np.float16, np.int64, np.float64)


class Constant(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p), ("type", ctypes.c_int), ("axes", ctypes.c_int), ("dims", ctypes.c_int64 * 5),
        ("data", ctypes.c_void_p),
    ]  # fmt: skip

    def array(self) -> np.ndarray:
        return _array(self.data, self.type, tuple(self.dims[: self.axes]))


class Feed(ctypes.Structure):
    _fields_ = [
        ("stage", ctypes.c_int), ("file", ctypes.c_char_p), ("input", ctypes.c_char_p), ("type", ctypes.c_int),
        ("dims", ctypes.c_int64 * 4), ("data", ctypes.c_void_p), ("output_count", ctypes.c_int),
        ("outputs", ctypes.POINTER(ctypes.c_char_p)), ("constant_count", ctypes.c_int),
        ("constants", ctypes.POINTER(Constant)),
    ]  # fmt: skip

    def array(self) -> np.ndarray:
        return _array(self.data, self.type, tuple(self.dims))

    def constant_arrays(self) -> dict[str, np.ndarray]:
        given = [self.constants[i] for i in range(self.constant_count)]
        return {constant.name.decode(): constant.array() for constant in given}


def _array(data: int, kind: int, shape: tuple[int, ...]) -> np.ndarray:
    dtype = DTYPES[kind]
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(ctypes.string_at(data, size), dtype).reshape(shape)


class Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("axes", ctypes.c_int), ("dims", ctypes.c_int64 * 5)]


def tensors(arrays: list[np.ndarray]) -> ctypes.Array[Tensor]:
    """The arrays must outlive it."""
    return (Tensor * len(arrays))(
        *(Tensor(array.ctypes.data, array.ndim, (ctypes.c_int64 * 5)(*array.shape)) for array in arrays)
    )


class Steps(NativeModel):
    """A model whose networks run here.

    Attributes:
        record: what happened, as `steps.c` reads it.
    """

    def __init__(self, folder: Path, **how: int) -> None:
        super().__init__(folder, no_runtime=True, **how)
        self.folder, self.record = folder, b""
        self.sessions: dict[str, onnxruntime.InferenceSession] = {}

    def begin(self, pixels: np.ndarray, form: int = BGR) -> int:
        height, width, channels = pixels.shape
        self.image = Image(pixels.ctypes.data, width, height, channels * width, form)
        return int(self._function("begin")(self._handle, ctypes.byref(self.image)))

    def next(self) -> tuple[int, Feed, People]:
        feed, people = Feed(), People()
        return self._function("next")(self._handle, ctypes.byref(feed), ctypes.byref(people)), feed, people

    def give(self, arrays: list[np.ndarray]) -> int:
        return int(self._function("give")(self._handle, tensors(arrays), len(arrays)))

    def said(self) -> str:
        return str(self._function("error")(self._handle).decode())

    def run(self, feed: Feed) -> list[np.ndarray]:
        file = feed.file.decode()
        if file not in self.sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self.sessions[file] = onnxruntime.InferenceSession(
                str(self.folder / file), options, providers=["CPUExecutionProvider"]
            )
        wanted = [feed.outputs[i].decode() for i in range(feed.output_count)]
        given = {feed.input.decode(): feed.array(), **feed.constant_arrays()}
        return [array.astype(np.float32) for array in self.sessions[file].run(wanted, given)]

    def estimate(self, pixels: np.ndarray, form: int = BGR) -> Poses:
        self._check(self.begin(pixels, form))
        height, width = pixels.shape[:2]
        rgb = pixels if form else np.ascontiguousarray(pixels[:, :, ::-1])
        self.record += struct.pack("<2q", width, height) + rgb.tobytes()
        while True:
            status, feed, people = self.next()
            self._check(status)
            if not feed.data:
                break
            given, outputs = feed.array(), self.run(feed)
            self.record += struct.pack("<3q", 1, feed.stage, given.nbytes) + given.tobytes()
            self.record += struct.pack("<q", len(outputs))
            for output in outputs:
                dims = (*output.shape, 0, 0, 0, 0, 0)[:5]
                self.record += struct.pack("<6q", output.ndim, *dims) + output.tobytes()
            self._check(self.give(outputs))
        poses = people.poses()
        self.record += struct.pack("<2q", 0, len(poses))
        self.record += poses.keypoints.tobytes() + poses.scores.tobytes() + poses.boxes_xyxy.tobytes()
        return poses
