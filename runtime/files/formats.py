"""Other programs' JSON layouts, and the table of all formats. Names here are layouts of files, not models.

Owns what each layout looks like. Keypoints find their place by name, never by their count.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Frame, Poses, Result, Skeleton
from posert.runtime.after.options import FeatureOptions
from posert.runtime.files import table
from posert.runtime.files.arrays import npz, parquet
from posert.runtime.files.atomic import (
    WHOLE,
    Provenance,
    Sink,
    Write,
    compact,
    file_header,
    frame_record,
    items,
    json_lines,
    needed,
    whole_file,
    whole_text,
    write_line,
)  # fmt: skip
from posert.runtime.files.dataset import coco, dataset
from posert.runtime.files.maps import asked_of, candidates, maps
from posert.runtime.files.state import names_below
from posert.runtime.files.trc import trc
from posert.runtime.files.units import in_units
from posert.runtime.media import is_image
from posert.runtime.spec import ModelSpec
from posert.skeletons import BODY_25, FACE_70, MPI_15, OPENPOSE_18, whole_body_hand

_MIDDLES = {"neck": ("left_shoulder", "right_shoulder"), "mid_hip": ("left_hip", "right_hip")}
_PARTS = {
    "face_keypoints_2d": FACE_70.names,
    "hand_left_keypoints_2d": whole_body_hand("left"),
    "hand_right_keypoints_2d": whole_body_hand("right"),
}
"""Fields of OpenPose's files besides the body's, and what they hold, in order."""
_ABSENT = ("pose_keypoints_3d", "face_keypoints_3d", "hand_left_keypoints_3d", "hand_right_keypoints_3d")


@dataclass(frozen=True, slots=True)
class Format:
    """How results become files.

    Attributes:
        sink: (path or None, spec, source) -> context manager that yields `write`.
        suffix: what an output's name has after the medium's; one without a dot takes the place of the medium's suffix.
        picture: the same for a picture; empty = `suffix`.
        options: what else `sink` takes: `empty`, frames without people included (elsewhere they always are, or have no
            place); `unit`, of `in_units`; `featuring`, the height of people and the floor's angle; `provenance`.
        inside: patterns for the names of the files in a folder that it writes, `{stem}` being the source's.
        ids: it cannot be written without ids.
        maps: the kind of the network's maps that it wants, of all keypoints or limbs; empty = none.
        pictures: it writes pictures of the frames too.
    """

    sink: Callable[..., Sink]
    suffix: str
    picture: str = ""
    options: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    ids: bool = False
    maps: str = ""
    pictures: bool = False

    def named_by(self, folder: Path, source: str) -> list[bool]:
        """Of every file in a folder whether it has a name that this format gives to the source's."""
        patterns = "|".join(self.inside).replace("{stem}", re.escape(Path(source).stem))
        names = names_below(folder) if patterns else ()
        return [re.fullmatch(patterns, name.replace(os.sep, "/")) is not None for name in names]

    def name(self, medium: str) -> str:
        """The name of a medium's output, `walk/a.mp4` -> `walk/a.mp4.jsonl`."""
        suffix = self.ending(medium)
        return (medium if suffix.startswith(".") else str(Path(medium).with_suffix(""))) + suffix

    def ending(self, medium: str) -> str:
        """What the name of a medium's output ends with."""
        return self.picture if self.picture and is_image(medium) else self.suffix


def sink_of(
    form: str, *, empty: bool = False, unit: int = 0, featuring: FeatureOptions | None = None,
    provenance: Provenance = WHOLE,
) -> Callable[[Path | None, ModelSpec, str], Sink]:  # fmt: skip
    """The sink of a format: frames without people included if it can, keypoints in `unit` (`in_units`).

    `provenance` is told if the format can; `featuring` is for those that write metres.

    Raises PosertError if there is no such format, or it has pixels of the frame and nothing else.
    """
    if form not in FORMATS:
        raise PosertError(f"unknown format {form!r}", f"use one of: {', '.join(FORMATS)}")
    chosen = FORMATS[form]
    values = {"empty": empty, "unit": unit, "featuring": featuring, "provenance": provenance}
    if unit and "unit" not in chosen.options:
        known = [name for name, other in FORMATS.items() if "unit" in other.options]
        raise PosertError(f"the format {form} knows no `keypoint_scale`", f"{', '.join(known)} does")
    return partial(chosen.sink, **{name: values[name] for name in chosen.options})


def formats_of(form: str) -> list[str]:
    """The names in `form`, which are separated by commas, each once and in the order of `FORMATS`.

    Raises PosertError if one of them is no format.

    >>> formats_of("csv,jsonl,csv")
    ['jsonl', 'csv']
    """
    named = {name.strip() for name in form.split(",")}
    for unknown in sorted(named - FORMATS.keys()):
        raise PosertError(f"unknown format {unknown!r}", f"use one of: {', '.join(FORMATS)}")
    return [name for name in FORMATS if name in named]


def sinks_of(
    form: str, *, empty: bool = False, unit: int = 0, featuring: FeatureOptions | None = None,
    provenance: Provenance = WHOLE,
) -> list[Callable[[Path | None, ModelSpec, str], Sink]]:  # fmt: skip
    """As `sink_of`, for each of `formats_of(form)`; those that know no `unit` stay as they are if another one does."""
    names = formats_of(form)
    knowing = [name for name in names if "unit" in FORMATS[name].options] or names
    units = [unit if name in knowing else 0 for name in names]
    return [
        sink_of(name, empty=empty, unit=own, featuring=featuring, provenance=provenance)
        for name, own in zip(names, units, strict=True)
    ]


def any_format(form: str, what: str) -> bool:
    """Whether one of `formats_of(form)` takes an option, or with `ids` wants ids."""
    return any(FORMATS[name].ids if what == "ids" else what in FORMATS[name].options for name in formats_of(form))


def maps_wanted(form: str, skeleton: Skeleton) -> list[str]:
    """The network's maps that `formats_of(form)` want, each once, see `estimate`."""
    kinds = dict.fromkeys(FORMATS[name].maps for name in formats_of(form) if FORMATS[name].maps)
    return [asked for kind in kinds for asked in asked_of(kind, skeleton)]


def parts_of(skeleton: Skeleton) -> tuple[str, ...]:
    """The 25 parts if the skeleton names a foot or the hips' middle, the 15 if it names the chest, else the 18."""
    if "chest" in skeleton.names:
        return MPI_15.names
    more = set(BODY_25.names) - set(OPENPOSE_18.names)
    return BODY_25.names if more & set(skeleton.names) else OPENPOSE_18.names


def in_parts(keypoints: NDArray[np.float32], skeleton: Skeleton, parts: Sequence[str]) -> NDArray[np.float64]:
    """Keypoints f64 [N,len(parts),3] reordered by name.

    A neck or hip middle that the skeleton lacks is the mean of its two sides with the lower score, if both were found;
    any other part it lacks is 0, 0, 0.
    """
    index = {name: number for number, name in enumerate(skeleton.names)}
    out = np.zeros((len(keypoints), len(parts), 3))
    for place, part in enumerate(parts):
        sides = [index[side] for side in _MIDDLES.get(part, ()) if side in index]
        if part in index:
            out[:, place] = keypoints[:, index[part]]
        elif len(sides) == 2:
            pair = keypoints[:, sides].astype(np.float64)
            middle = np.concatenate([pair[:, :, :2].mean(axis=1), pair[:, :, 2].min(axis=1)[:, None]], axis=1)
            out[:, place] = np.where(np.asarray(pair[:, :, 2].min(axis=1) > 0)[:, None], middle, 0)
    return out


def six_digits(values: NDArray[np.floating]) -> list[float]:
    """The values, flat, each with six significant digits; whole numbers as integers.

    >>> six_digits(np.array([123.4567, 0.87654321, 0]))
    [123.457, 0.876543, 0]
    """
    return [int(short) if (short := float(f"{value:.6g}")).is_integer() else short for value in values.ravel().tolist()]


@contextmanager
def one_json(path: Path | None, spec: ModelSpec, source: str, *, provenance: Provenance = WHOLE) -> Iterator[Write]:
    """Writes one JSON document: the header of the JSON lines, and all their frames in the list `frames`."""
    opening = compact(file_header(spec, source, provenance))[:-1] + ',"frames":['
    with items(needed(path, "json"), opening, "]}") as add:
        yield lambda _, result: add(compact(frame_record(result)))


def openpose_fields(skeleton: Skeleton) -> dict[str, tuple[str, ...]]:
    """OpenPose's 2D fields and the keypoints that they hold; a face or a hand that the skeleton has not holds none.

    A face of other than its 70 points is another one, but for the last two, the pupils, which most have not.
    """
    known = set(skeleton.names)
    more = {field: names if set(names[:68]) <= known else () for field, names in _PARTS.items()}
    if f"face_{len(FACE_70.names)}" in known:
        more["face_keypoints_2d"] = ()
    return {"pose_keypoints_2d": parts_of(skeleton), **more}


def people_document(poses: Poses, fields: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    """OpenPose's JSON 1.3 of one frame; fields f64 [N,K,3] of each name; `person_id` is the track's, -1 without one."""
    ids = [-1] * len(poses) if poses.ids is None else poses.ids.tolist()
    people = [
        {
            "person_id": [ids[person]],
            **{field: six_digits(placed[person]) for field, placed in fields.items()},
            **{field: [] for field in _ABSENT},
        }
        for person in range(len(poses))
    ]
    return {"version": 1.3, "people": people}


@contextmanager
def frame_files(path: Path | None, spec: ModelSpec, source: str, *, unit: int = 0) -> Iterator[Write]:
    """Writes OpenPose's files: `<stem>_<12-digit frame>_keypoints.json` in a folder; for a picture the one file.

    Raises:
        PosertError: the layout has no place for any of the skeleton's keypoints.
    """
    target, stem, skeleton = needed(path, "openpose"), Path(source).stem, spec.skeleton
    fields, convert = openpose_fields(skeleton), in_units(unit, spec)
    if not set(skeleton.names).intersection(chain(*fields.values())):
        raise PosertError(f"OpenPose's files have no place for the keypoints of {spec.model}", "take `form` json")

    def document(result: Result) -> dict[str, Any]:
        keypoints, size_wh = result.poses.keypoints, result.size_wh
        placed = {field: convert(in_parts(keypoints, skeleton, names), size_wh) for field, names in fields.items()}
        return people_document(result.poses, placed)

    if is_image(source):
        with whole_text(target) as file:
            yield lambda _, result: write_line(file, document(result))
        return
    with whole_file(target) as folder:
        folder.mkdir()

        def write(_: Frame, result: Result) -> None:
            name = f"{stem}_{result.frame_index:012d}_keypoints.json"
            (folder / name).write_text(compact(document(result)) + "\n", encoding="utf-8")

        yield write


def _frame_name(result: Result) -> str:
    """What AlphaPose calls a frame: a picture's own name, `<index>.jpg` in a video."""
    return Path(result.source).name if is_image(result.source) else f"{result.frame_index}.jpg"


def _each(poses: Poses) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64], float, int | None]]:
    """Of each person the keypoints f64 [K,3], the box f64 [4] (x, y, width, height), the score and the id."""
    boxes = poses.boxes_xyxy.astype(np.float64)
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    ids = [None] * len(poses) if poses.ids is None else poses.ids.tolist()
    return zip(poses.keypoints.astype(np.float64), xywh, poses.scores.tolist(), ids, strict=True)


@contextmanager
def result_list(path: Path | None, spec: ModelSpec, source: str, *, empty: bool = False) -> Iterator[Write]:
    """Writes AlphaPose's list: one element per person; with `empty` one without keypoints per frame of nobody."""
    with items(needed(path, "alphapose")) as add:

        def write(_: Frame, result: Result) -> None:
            name = _frame_name(result)
            for points, box, score, key in _each(result.poses):
                add(compact({
                    "image_id": name, "category_id": 1, "keypoints": points.round(4).ravel().tolist(),
                    "score": round(score, 6), "box": box.round(2).tolist(), "idx": [float(key or 0)],
                }))  # fmt: skip
            if empty and not len(result.poses):
                add(compact({"image_id": name, "category_id": 1, "keypoints": [], "score": 0.0, "box": [], "idx": []}))

        yield write


@contextmanager
def result_dict(
    path: Path | None, spec: ModelSpec, source: str, *, form: str, key: str, joints: str, empty: bool = False
) -> Iterator[Write]:
    """Writes AlphaPose's cmu or open form: a folder with `alphapose-results.json` and `sep-json/<frame>.json`."""
    with whole_file(needed(path, form)) as folder:
        (folder / "sep-json").mkdir(parents=True)
        with items(folder / "alphapose-results.json", "{", "}") as add:

            def write(_: Frame, result: Result) -> None:
                points = in_parts(result.poses.keypoints, spec.skeleton, OPENPOSE_18.names).round(4)
                inner = {"version": "AlphaPose v0.3", key: [{joints: person.ravel().tolist()} for person in points]}
                if len(points) or empty:
                    name = _frame_name(result)
                    add(compact(name) + ":" + compact(inner))
                    (folder / "sep-json" / (Path(name).stem + ".json")).write_text(compact(inner) + "\n")

            yield write


def _predictions(poses: Poses) -> list[dict[str, Any]]:
    """Python's own rounding, of the decimal value; a keypoint that was found has at least .01, a person .001."""
    people = []
    for points, box, score, key in _each(poses):
        points[:, 2] = np.where(points[:, 2] > 0, np.maximum(points[:, 2], 0.01), points[:, 2])
        person = {
            "keypoints": [round(value, 2) for value in points.ravel().tolist()],
            "bbox": [round(value, 2) for value in box.tolist()],
            "score": max(0.001, round(score, 3)),
            "category_id": 1,
        }
        people.append(person if key is None else person | {"id_": key})
    return people


@contextmanager
def predictions(path: Path | None, spec: ModelSpec, source: str) -> Iterator[Write]:
    """Writes OpenPifPaf's predictions: a list for a picture, a line per frame (counted from 1) for a video."""
    with whole_text(needed(path, "openpifpaf")) as file:

        def write(_: Frame, result: Result) -> None:
            people = _predictions(result.poses)
            write_line(file, people if is_image(source) else {"frame": result.frame_index + 1, "predictions": people})

        yield write


_DICTS = ("alphapose-results.json", r"sep-json/(\d+|{stem})\.json")
_CMU = partial(result_dict, form="alphapose-cmu", key="bodies", joints="joints")
_OPEN = partial(result_dict, form="alphapose-open", key="people", joints="pose_keypoints_2d")
_DATASET = (r"annotations/person_keypoints_default\.json", r"images/default/(frame_\d{6,}|{stem})\.\w+")
FORMATS: dict[str, Format] = {
    "jsonl": Format(json_lines, ".jsonl", options=("provenance",)),
    "json": Format(one_json, ".json", options=("provenance",)),
    "openpose": Format(frame_files, "_json", "_keypoints.json", ("unit",), (r"{stem}_\d{12}_keypoints\.json",)),
    "alphapose": Format(result_list, ".alphapose-results.json", options=("empty",)),
    "alphapose-cmu": Format(_CMU, ".alphapose-cmu", options=("empty",), inside=_DICTS),
    "alphapose-open": Format(_OPEN, ".alphapose-open", options=("empty",), inside=_DICTS),
    "openpifpaf": Format(predictions, ".openpifpaf.json", ".predictions.json"),
    "coco": Format(coco, ".coco.json"),
    "npz": Format(npz, ".npz", options=("provenance",)),
    "parquet": Format(parquet, ".parquet", options=("provenance",)),
    "coco-dataset": Format(dataset, ".coco-dataset", inside=_DATASET, pictures=True),
    "trc": Format(trc, "_trc", options=("featuring",), inside=(r"{stem}_(px|m)_person\d{2,}\.trc",), ids=True),
    "heatmaps": Format(partial(maps, kind="heatmap"), ".heatmaps.npz", maps="heatmap"),
    "pafs": Format(partial(maps, kind="paf"), ".pafs.npz", maps="paf"),
    "candidates": Format(candidates, ".candidates.npz", maps="heatmap"),
    "csv": Format(table.rows, ".csv", options=("empty",)),
}
"""Name -> how its files are written and called. A new format is a function and a row here."""
