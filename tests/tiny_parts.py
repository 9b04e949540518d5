"""Tiny networks for a body's arms and for hands: who is drawn says where his joints are in the first pixels of a frame.

Person n's joints stand in row n: the pixel of joint k is its x and y (quarters of a px) and its score. A hand is a
square of 5 px for each of its keypoints, in red, green and blue.
"""

from pathlib import Path

import numpy as np
import tiny_topdown
from onnx import helper

from posert.export.systems.openpose import NETWORKS, caffe_stage
from posert.poses import Frame, Skeleton
from posert.runtime.region_spec import Part, Parts, Place, Turn
from posert.runtime.spec import InputSpec, ModelSpec, Stage
from posert.skeletons import mirrored

SIDE, CROP, PEOPLE = 64, 24, 2
JOINTS = tuple(f"{side}_{joint}" for side in ("left", "right") for joint in ("shoulder", "elbow", "wrist"))
BODY = Skeleton(JOINTS, ((0, 1), (1, 2), (3, 4), (4, 5)), (0.08,) * 6, mirrored(JOINTS))
HAND = Skeleton(("root", "middle", "tip"), ((0, 1), (1, 2)), (0.03,) * 3, (0, 1, 2))
AGAIN = Turn((0, 2), "up", "keypoints", (0.0, -0.1))


def hand_of(side: str, *, turned: bool = True, mirrored: bool = False) -> Part:
    """At the end of an arm."""
    wrist, elbow, shoulder = (f"{side}_{joint}" for joint in ("wrist", "elbow", "shoulder"))
    place = Place({wrist: 1.33, elbow: -0.33}, ((elbow, wrist, 1.2), (shoulder, elbow, 1.08)))
    names = tuple(f"{side}_{point}" for point in HAND.names)
    return Part(names, (place,), (elbow, wrist) if turned else None, mirrored)


BOTH = Parts((hand_of("left"), hand_of("right")), AGAIN)


def arms(path: Path, skeleton: Skeleton = BODY) -> Path:
    """The two people of a frame of 64 x 64 px; who is not drawn has a score of 0."""
    count = len(skeleton.names)
    nodes = [
        helper.make_node("Slice", ["image", "begin", "joints_end", "axes"], ["joints"]),
        helper.make_node("Gather", ["joints", "yx"], ["places"], axis=3),
        helper.make_node("Reshape", ["places", "flat"], ["points"]),
        helper.make_node("Slice", ["image", "rest_begin", "rest_end", "axes"], ["rest"]),
        helper.make_node("Reshape", ["rest", "flat"], ["others"]),
        helper.make_node("Slice", ["others", "none", "five", "last"], ["box"]),
        helper.make_node("Concat", ["points", "box"], ["people"], axis=2),
    ]
    constants = {
        "begin": [0, 0], "joints_end": [PEOPLE, count], "axes": [1, 2], "yx": [1, 0, 2], "flat": [0, PEOPLE, -1],
        "rest_begin": [0, count], "rest_end": [PEOPLE, count + 2], "none": [0], "five": [5], "last": [2],
    }  # fmt: skip
    image = InputSpec("image", "NHWC", "float32", "rgb", (SIDE, SIDE), "stretch", std=(255.0,) * 3)
    stage = Stage("pose", "frame", image, {"people": "people"}, "direct", {"min_score": 0.5})
    spec = ModelSpec(1, "toy", "arms", skeleton, (stage,))
    whole = {name: np.array(values, np.int64) for name, values in constants.items()}
    return tiny_topdown.write(path, nodes, whole, (["n", SIDE, SIDE, 3], ["n", PEOPLE, 3 * count + 5]), spec)


def hands(path: Path, parts: Parts | None = BOTH) -> Path:
    """Each keypoint in the middle of its colour, as sure as the brightest pixel; a crop without a colour has none."""
    middle = ((np.arange(CROP) + 0.5) / CROP).astype(np.float32)
    nodes = [helper.make_node("ReduceMean", ["image"], ["mass"], axes=[1, 2], keepdims=0)]
    for axis in ("y", "x"):
        nodes += [
            helper.make_node("Mul", ["image", axis], [f"{axis}1"]),
            helper.make_node("ReduceMean", [f"{axis}1"], [f"{axis}2"], axes=[1, 2], keepdims=0),
            helper.make_node("Div", [f"{axis}2", "mass"], [f"{axis}3"]),
            helper.make_node("Unsqueeze", [f"{axis}3", "around"], [f"{axis}4"]),
        ]
    nodes += [
        helper.make_node("ReduceMax", ["image"], ["most"], axes=[1, 2], keepdims=0),
        helper.make_node("Unsqueeze", ["most", "around"], ["sure"]),
        helper.make_node("Concat", ["y4", "x4", "sure"], ["keypoints"], axis=3),
    ]
    constants = {"y": middle[None, :, None, None], "x": middle[None, None, :, None], "around": np.array([1, 3])}
    image = InputSpec("image", "NHWC", "float32", "rgb", (CROP, CROP), "boxes", std=(255.0,) * 3, margin=4.0)
    stage = Stage("hands", "boxes", image, {"keypoints": "keypoints"}, "direct", {"min_score": 0.5}, parts=parts)
    spec = ModelSpec(1, "toy", "hands", HAND, (stage,))
    return tiny_topdown.write(path, nodes, constants, (["n", CROP, CROP, 3], ["n", 1, 3, 3]), spec)


def maps(path: Path, name: str) -> Path:
    """A network in the shape of CMU OpenPose's face or hand network, whose map k is the colour k % 3 of its crop."""
    network = NETWORKS[name]
    count = len(network.skeleton.names)
    nodes = [
        helper.make_node("Add", ["image", "half"], ["light"]),
        helper.make_node("AveragePool", ["light"], ["cells"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Gather", ["cells", "bgr"], ["maps"], axis=1),
    ]
    constants = {"half": np.float32(0.5), "bgr": np.array([2 - k % 3 for k in range(count)])}
    spec = ModelSpec(1, "toy", name, network.skeleton, (caffe_stage(network, "image"),))
    return tiny_topdown.write(path, nodes, constants, (["n", 3, 368, 368], ["n", count, 46, 46]), spec)


def arm(shoulder: complex, elbow: complex, wrist: complex, score: float = 0.8) -> np.ndarray:
    """Three joints f64 [3,3]."""
    return np.array([(point.real, point.imag, score) for point in (shoulder, elbow, wrist)])


def hand(root: complex, along: complex) -> np.ndarray:
    """The places f64 [3,2] of a hand's keypoints, `along` px from one to the next."""
    return np.array([((root + i * along).real, (root + i * along).imag) for i in range(3)])


def scene(bodies: list[np.ndarray], drawn: list[np.ndarray], index: int = 0, size: int = 5) -> Frame:
    """A frame with people (joints f64 [6,3] each) and hands (places f64 [3,2] each), of squares of so many px."""
    rgb = np.zeros((SIDE, SIDE, 3), np.uint8)
    for places in drawn:
        for colour, (x, y) in enumerate(places):
            left, top = round(x - size / 2), round(y - size / 2)
            rgb[max(0, top) : top + size, max(0, left) : left + size, colour] = 255
    rgb[:PEOPLE, : max(map(len, bodies), default=0) + 2] = 0
    for row, joints in enumerate(bodies):
        rgb[row, : len(joints)] = np.round(joints * [255 / SIDE, 255 / SIDE, 255])
        rgb[row, len(joints)], rgb[row, len(joints) + 1] = (0, 0, 255), (255, 204, 0)
    return Frame(np.ascontiguousarray(rgb[:, :, ::-1]), index, index / 10, "made")
