"""The records of the house: skeletons, poses, frames, features, results. numpy only; nothing of files or networks.

Axis letters, the same in the whole project: B batch, N people, K keypoints, L limbs (skeleton edges), C channels,
H height, W width, R regions (rows of one batch).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError, package

Float32Array = NDArray[np.float32]
Int32Array = NDArray[np.int32]
TORSO = ("left_hip", "right_hip", "left_shoulder", "right_shoulder")
"""Keypoints by which a person is followed from frame to frame."""


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Names and topology of K keypoints; every index is 0-based.

    Attributes:
        names: K names in snake case, `left_hip`.
        edges: L pairs of keypoint indices, in the order the decoder wants them.
        sigmas: K object-keypoint-similarity constants, a fraction of the person's scale (COCO's k / 2); () if unknown.
        flip: K indices, `flip[k]` is keypoint k in the mirror image; () if unknown.
    """

    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...] = ()
    flip: tuple[int, ...] = ()


def first_of(skeleton: Skeleton, count: int) -> Skeleton:
    """The first `count` keypoints and what is between them.

    >>> first_of(Skeleton(("a", "b", "c"), ((0, 1), (1, 2))), 2)
    Skeleton(names=('a', 'b'), edges=((0, 1),), sigmas=(), flip=())
    """
    if count == len(skeleton.names):
        return skeleton
    edges = tuple(edge for edge in skeleton.edges if max(edge) < count)
    return Skeleton(skeleton.names[:count], edges, skeleton.sigmas[:count], skeleton.flip[:count])


@dataclass(frozen=True, slots=True)
class Poses:
    """N people, in pixels of the network input or of the frame (the caller knows which).

    Attributes:
        keypoints: f32 [N,K,3], x px, y px, score; a keypoint that was not found is 0, 0, 0.
        scores: f32 [N], one per person, higher is better; the range is the decoder's own.
        boxes_xyxy: f32 [N,4], left, top, right, bottom px.
        ids: i32 [N] from 1, stable over the frames of one video; None when nothing tracked them.
        filled: bool [N,K], the keypoint was not found but put between two sightings; None where nothing was to be.
    """

    keypoints: Float32Array
    scores: Float32Array
    boxes_xyxy: Float32Array
    ids: Int32Array | None = None
    filled: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture. Its pixels are shared, not copied: whoever fills the array again changes the frame.

    Attributes:
        bgr: u8 [H,W,3], blue, green, red; made C-contiguous if it is not.
        index: 0-based position in its source, counted before `stride`.
        time_s: seconds since the start of the source.
        source: path, address, `webcam:0`, `-`, or a name of your own.

    Raises:
        PosertError: other pixels than u8 [H,W,3], H and W at least 1.
    """

    bgr: NDArray[np.uint8]
    index: int = 0
    time_s: float = 0.0
    source: str = "array"

    def __post_init__(self) -> None:
        given = self.bgr
        if not isinstance(given, np.ndarray):
            raise PosertError(f"a frame is an array u8 [H,W,3], got {type(given).__name__}", _FRAMES)
        if given.dtype != np.uint8 or given.ndim != 3 or given.shape[2] != 3 or not given.size:
            raise PosertError(f"a frame is u8 [H,W,3] (BGR), got {given.dtype} {list(given.shape)}", _FRAMES)
        object.__setattr__(self, "bgr", np.ascontiguousarray(given))

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """u8 [H,W,3], a view of `bgr` in reversed channel order."""
        return self.bgr[:, :, ::-1]

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height, px."""
        return self.bgr.shape[1], self.bgr.shape[0]


_FRAMES = "convert it, for example with cv2.cvtColor; a file's or camera's frames come from `frames`"


@dataclass(frozen=True, slots=True)
class Features:
    """Features of the N people of one frame; NaN wherever a keypoint that a value needs was not found.

    Attributes:
        normalised: f32 [N,K,2], (x, y) from the middle of the hips, in torso lengths (hip middle to shoulder middle).
        velocities: f32 [N,K,2], (x, y) movement since the person's previous frame, torso lengths per second; NaN for a
            person who was not there within the last second.
        angles: f32 [N,A], the angle at each joint between its two neighbours, radians 0..pi (pi = stretched).
        visible: bool [N,K], the keypoint was found and lies in the frame.
        joints: A names of `angles`.
        segments: f32 [N,S], the angle of each segment of the body to the horizontal, radians -pi..pi, anticlockwise
            from the right of the picture: arms and legs from their far end on (pi / 2 = hanging down, standing), feet
            from the heel, hips and shoulders from the left one.
        floor_angle: f32 [N], the floor's angle by the places where feet have stood, radians, positive if it rises to
            the right; the same for everybody of a frame.
        segment_names: S names of `segments`.
        degrees: all these angles are in degrees.
        metres: f32 [N,K,2], (x, y) from the middle of the hips, metres; None if nobody's height is known.
        metres_per_px: f32 [N], what a pixel at this person is; None as above.
    """

    normalised: Float32Array
    velocities: Float32Array
    angles: Float32Array
    visible: NDArray[np.bool_]
    joints: tuple[str, ...]
    segments: Float32Array
    floor_angle: Float32Array
    segment_names: tuple[str, ...]
    degrees: bool = False
    metres: Float32Array | None = None
    metres_per_px: Float32Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PartMap:
    """A map of the network that was asked for: where it saw a keypoint, or where to a limb goes.

    Attributes:
        asked: `heatmap:nose`, `paf:neck-nose`.
        values: f32 [R,h,w], or [R,2,h,w] (x, y) of a limb, of each of the R windows that the network looked at.
        to_frame: f64 [R,2,3], from a cell's place (column, row, 1) to px of the frame.
    """

    asked: str
    values: Float32Array
    to_frame: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Result:
    """The people of one frame.

    Attributes:
        frame_index: the frame's place in its source.
        time_s: seconds since the start of the source.
        size_wh: the frame's width and height, px.
        source: where the frame came from.
        poses: in pixels of the frame; nobody is a value too.
        timings_ms: milliseconds by step, `prepare`, `run` and `decode`, each summed over the stages.
        features: derived from the poses; None unless asked for.
        dropped: frames of a live source between the last result and this one, which nobody looked at; None for sources
            that wait.
        maps: of the network, those that were asked for.
    """

    frame_index: int
    time_s: float
    size_wh: tuple[int, int]
    source: str
    poses: Poses
    timings_ms: dict[str, float]
    features: Features | None = None
    dropped: int | None = None
    maps: tuple[PartMap, ...] = ()

    def to_supervision(self) -> Any:
        """These people as `supervision.KeyPoints`: `data` has `class_name`, `xyxy` and, with ids, `tracker_id`.

        Raises PosertError if supervision is missing.
        """
        poses, people = self.poses, len(self.poses)
        data: dict[str, Any] = {"class_name": np.full(people, "person"), "xyxy": poses.boxes_xyxy}
        if poses.ids is not None:
            data["tracker_id"] = poses.ids
        return package("supervision", "supervision").KeyPoints(
            xy=poses.keypoints[:, :, :2],
            class_id=np.zeros(people, int),
            keypoint_confidence=poses.keypoints[:, :, 2],
            detection_confidence=poses.scores,
            visible=poses.keypoints[:, :, 2] > 0,
            data=data,
        )


def no_poses(keypoint_count: int) -> Poses:
    """Nobody: N = 0, K = `keypoint_count`.

    >>> len(no_poses(17))
    0
    """
    return Poses(np.zeros((0, keypoint_count, 3), np.float32), np.zeros(0, np.float32), np.zeros((0, 4), np.float32))


def join(rows: Sequence[Poses], keypoint_count: int) -> Poses:
    """All people of several rows in row order; nobody (K = `keypoint_count`) when there is no row.

    They have ids, and marks of what was filled, if those of the first row with people have.
    """
    people = [row for row in rows if len(row)] or rows[:1] or [no_poses(keypoint_count)]
    names = [name for name in Poses.__slots__ if getattr(people[0], name) is not None]
    return Poses(**{name: np.concatenate([getattr(row, name) for row in people]) for name in names})
