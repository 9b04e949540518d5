"""Where a model looks in each frame: the whole of it, given boxes, or around the people of the last frame.

Owns the only state of the loop, one for each source that people are followed in, and the format of files with boxes.
Knows stages, windows and people, nothing of networks. A region is a `Poses` without keypoints: a box and its score.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Frame, Poses
from posert.postprocess.following import FollowOptions, followed, joined, next_regions, next_window
from posert.postprocess.geometry import usable
from posert.postprocess.steady import memory_size, steadied
from posert.runtime.cuts import MEMORY, scene_changed
from posert.runtime.joining import looks_again
from posert.runtime.media import is_image
from posert.runtime.parts import part_rules, part_windows
from posert.runtime.spec import ModelSpec, Stage, body_stages, skeleton_of
from posert.runtime.turned import turned_regions, turned_windows
from posert.runtime.windows import place
from posert.typed import Misfit, Px, read


class _Image(TypedDict):
    id: int | str
    file_name: str


Boxes = Callable[[Frame], NDArray[np.float32]]
_MOST_SOURCES = 64  # that are followed at once; pictures are sources too, and are never seen again


@dataclass(slots=True)
class _Seen:
    """What is known of a source.

    Attributes:
        people: of its last frame; None before the first one.
        since_detection: frames.
        regions: of people who are looked for again; windows: f64 [N,4] that follow them, NaN where none does.
        memory: of the steady rule, see `steadied`; None before the first frame and behind a cut.
        picture: of the last frame, see `scene_changed`.
        parts: f32 [N,K,3], the keypoints of its last frame's people, those of their parts included.
    """

    people: Poses | None = None
    since_detection: int = 0
    regions: Poses = field(default_factory=lambda: regions(np.zeros((0, 4))))
    windows: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))
    memory: NDArray[np.float64] | None = None
    picture: NDArray[np.float32] = field(default_factory=lambda: np.zeros(MEMORY, np.float32))
    parts: NDArray[np.float32] | None = None


class Gaze:
    """Where to look, frame after frame.

    Another source begins anew; sources that take turns are told apart where each has several people to follow.

    Attributes:
        in_turn: whether a frame cannot begin before the last one's people are known.
        rules: of each stage that looks at parts, by its name.
    """

    def __init__(
        self,
        spec: ModelSpec,
        boxes: Boxes | None = None,
        detect_every: int = 1,
        follow: FollowOptions | None = None,
    ) -> None:
        body = body_stages(spec)
        follows = boxes is None and body[-1].region == "follow"
        self.in_turn = detect_every > 1 or follows or any(map(looks_again, spec.stages))
        self._last, self._skeleton = body[-1], skeleton_of(spec, body[-1])
        self._boxes, self._detect_every = boxes, detect_every
        self._follow = follow or FollowOptions()
        self._steady = follows and body[-1].turn is None and self._follow.rule == "steady"
        self._follows_one, self._follows_all = follows and len(body) == 1, follows and len(body) > 1
        self._finds_itself = all(stage.region == "frame" for stage in body)
        self.rules = {stage.name: part_rules(stage, spec.skeleton) for stage in spec.stages[len(body) :]}
        self._sources: dict[str, _Seen] = {}

    def known_regions(self, group: list[Frame]) -> list[Poses] | None:
        """The regions of each frame that no detector has to find: given boxes, or those around the last poses."""
        if self._finds_itself:
            return None
        if self._boxes is not None:
            return [usable(regions(self._boxes(frame))) for frame in group]
        if not self.in_turn:
            return None
        seen, size_wh = self._seen(group[0]), group[0].size_wh
        if self._steady and scene_changed(group[0].bgr, seen.picture, self._follow.cut):
            self._sources[group[0].source] = seen = _Seen(picture=seen.picture)
        if self._follows_all and seen.people is not None:
            seen.regions, seen.windows = followed(seen.people, size_wh, self._skeleton, seen.memory)
        if seen.people is None or seen.since_detection >= self._detect_every:
            seen.since_detection = 0
            return None
        return [seen.regions if self._follows_all else next_regions(seen.people, size_wh)]

    def regions(self, frame: Frame, found: Poses, stage: Stage) -> Poses:
        """The regions of a stage: those that the one before found in a frame, behind those of whoever is followed.

        By the tutorial's rule the crop of whom the detector knows again is its box if it looks at every frame, which is
        a bit better; else the person's own keypoints say where, as in between, because changing from one to the other
        makes keypoints jump.
        """
        if stage.turn is not None:
            return turned_regions(found, stage.turn)
        found = usable(found, frame.size_wh)
        if not self._follows_all:
            return found
        seen = self._seen(frame)
        found, again = joined(seen.regions, found, stage.max_iou)
        if self._detect_every == 1 and not self._steady:
            seen.windows[again] = np.nan
        return found

    def windows(self, stage: Stage, frame: Frame, found: Poses | None) -> tuple[NDArray[np.float64], tuple[int, int]]:
        """The windows of a stage in a frame, f64 [R,4], turned ones [R,6], and the width and height of the input, px.

        `found` are the regions from boxes or the stage before; None for the first stage that looks at whole frames.
        """
        if stage.region == "boxes" and stage.turn is not None and found is not None:
            return turned_windows(found, stage.turn, stage.input), stage.input.size_wh
        boxes = found.boxes_xyxy if stage.region != "frame" and found is not None else None
        windows, input_wh = place(frame.size_wh, stage.input, boxes)
        if stage.region == "follow" and self._boxes is None:
            known = self._seen(frame).windows
            follows = ~np.isnan(known[:, 0])
            if self._follows_one and len(known):
                windows = known
            else:
                windows[: len(known)][follows] = known[follows]
        return windows, input_wh

    def remember(self, frame: Frame, people: Poses) -> Poses:
        """Takes note of a frame's people, for the next frame of its source; what is to be said of them."""
        if not self.in_turn:
            return people
        seen, skeleton = self._seen(frame), self._skeleton
        if self._steady:
            before = np.empty((0, memory_size(len(skeleton.names)))) if seen.memory is None else seen.memory
            people, seen.memory = steadied(people, before, frame.size_wh, skeleton, self._follow)
        seen.people = people
        seen.since_detection += 1
        if self._follows_one:
            window = self._after(people, frame, self._last)
            seen.windows = np.zeros((0, 4)) if window is None else window[None]
        return people

    def part_windows(self, stage: Stage, frame: Frame, people: Poses) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The windows of a stage that looks at parts, f64 [R,6], and whose they are, see `parts.part_windows`."""
        known = self._seen(frame).parts if self.in_turn else None
        return part_windows(self.rules[stage.name], people, people.keypoints[:0] if known is None else known)

    def remember_parts(self, frame: Frame, people: Poses) -> None:
        """Takes note of the parts of a frame's people, for the next frame of its source."""
        if self.in_turn:
            self._seen(frame).parts = people.keypoints

    def _seen(self, frame: Frame) -> _Seen:
        """What is known of the frame's source."""
        if frame.source not in self._sources:
            while len(self._sources) >= (1 if self._follows_one else _MOST_SOURCES):
                del self._sources[next(iter(self._sources))]
            self._sources[frame.source] = _Seen()
        return self._sources[frame.source]

    def _after(self, people: Poses, frame: Frame, stage: Stage) -> NDArray[np.float64] | None:
        """The window in the next frame of a stage that follows: after the first person, if he is seen well enough."""
        memory = self._seen(frame).memory
        if memory is not None:
            return memory[0, :4] if len(memory) and memory[0, 0] == memory[0, 0] else None
        if stage.turn is None:
            return next_window(people, frame.size_wh, self._skeleton)
        first = turned_regions(Poses(people.keypoints[:1], people.scores[:1], people.boxes_xyxy[:1]), stage.turn)
        return turned_windows(first, stage.turn, stage.input)[0] if len(first) else None


def regions(boxes: NDArray[np.floating]) -> Poses:
    """Regions of f32 [N,4] xyxy px, or [N,5] with a score; without one it is 1."""
    rows = np.asarray(boxes, np.float32)
    scores = rows[:, 4].copy() if rows.shape[1] > 4 else np.ones(len(rows), np.float32)
    return Poses(np.zeros((len(rows), 0, 3), np.float32), scores, rows[:, :4].copy())


def read_boxes(path: Path) -> Boxes:
    """Frame -> f32 [N,5] (xyxy px, score), from a file of COCO's results or annotations.

    A list of `{"image_id", "bbox": [x, y, w, h], "score"}`, or an object with `annotations` and `images`. An image id
    is a frame's number in a video, or a picture's file name, stem or number. Rows of another category than 1 are left
    out; a missing score is 1.

    Raises:
        PosertError: the file cannot be read, or a row has no image id or no box.
    """
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise PosertError(f"the boxes in {path} cannot be read: {error}", _EXPECTED) from None
    rows = data.get("annotations") if isinstance(data, dict) else data
    if not isinstance(rows, list):
        raise PosertError(f"{path} holds no list of boxes", _EXPECTED)
    try:
        images = read(tuple[_Image, ...], data.get("images"), "images") if isinstance(data, dict) else ()
        names = {str(image["id"]): image["file_name"] for image in images}
        by_image: dict[str, list[list[float]]] = {}
        for number, row in enumerate(rows):
            key, box = _row(row, number)
            if box is not None:
                by_image.setdefault(_key(names.get(key, key)), []).append(box)
    except Misfit as error:
        raise PosertError(f"{path} is no file of boxes: {error.what}", _EXPECTED) from None
    return lambda frame: _lookup(by_image, frame)


_EXPECTED = 'expected COCO results: [{"image_id": 0, "bbox": [x, y, w, h], "score": 0.9}, ...]'


class _Row(TypedDict):
    image_id: int | str
    bbox: tuple[Px, Px, Px, Px]
    score: NotRequired[Px]


def _row(given: Any, number: int) -> tuple[str, list[float] | None]:
    """The image id and the box (x, y, x, y, score) of a row, None for another category."""
    row: _Row = read(_Row, given, f"row {number}")
    (x, y, width, height), other = row["bbox"], given.get("category_id", 1) != 1
    return str(row["image_id"]), None if other else [x, y, x + width, y + height, row.get("score", 1.0)]


def _key(image: str) -> str:
    """Name without folder and suffix, and without leading zeros: `val/000000000785.jpg` is `785`."""
    stem = Path(image).stem
    return stem.lstrip("0") or "0" if stem.isdigit() else stem


def _lookup(by_image: dict[str, list[list[float]]], frame: Frame) -> NDArray[np.float32]:
    key = _key(Path(frame.source).name) if is_image(frame.source) else str(frame.index)
    return np.array(by_image.get(key, []), np.float32).reshape(-1, 5)
