"""Results in columns: one row for each person and frame, as text, which spreadsheets read, and for pandas.

Owns this layout; its columns are those of Parquet (`arrays.py`), after the source. Knows nothing of models.
"""

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import package
from posert.poses import Frame, Result, Skeleton
from posert.runtime.files.arrays import ABOUT, column_names, person_rows
from posert.runtime.files.atomic import DECIMALS_FEATURES, DECIMALS_PX, DECIMALS_SCORE, Write, text_output
from posert.runtime.spec import ModelSpec

_SIDES = {f"box_{side}": DECIMALS_PX for side in ("left", "top", "right", "bottom")}
_DECIMALS = {"frame": 0, "time_s": 6, "width": 0, "height": 0, "id": 0, "score": DECIMALS_SCORE} | _SIDES


@contextmanager
def rows(path: Path | None, spec: ModelSpec, source: str, *, empty: bool = False) -> Iterator[Write]:
    """Writes a row for each person of each frame, under a row of names; to standard output without a path.

    Columns: `source`, `frame`, `time_s`, `width`, `height` (px of the frame), `person` (0, 1 ... within the frame), and
    from `id` on those of Parquet. Numbers are rounded as in the JSON lines; a keypoint that was not found is 0, 0, 0;
    an id or a feature that there is not is an empty field. With `empty` a frame without people is a row too, nothing
    but its first five fields filled.
    """
    names: list[str] = []
    with text_output(path) as file:
        out = csv.writer(file, lineterminator="\n")

        def write(_: Frame, result: Result) -> None:
            if not names:
                names.extend(column_names(spec.skeleton.names, result))
                out.writerow(["source", *names[:ABOUT], "person", *names[ABOUT:]])
            table = _rounded(person_rows(result), names, spec.skeleton.names)
            for person, row in enumerate(table):
                fields = list(map(_text, row))
                key = "" if result.poses.ids is None else fields[ABOUT]
                out.writerow([source, *fields[:ABOUT], person, key, *fields[ABOUT + 1 :]])
            if empty and not table:
                about = result.frame_index, _text(round(result.time_s, 6)), *result.size_wh
                out.writerow([source, *about, *[""] * (len(names) + 1 - ABOUT)])
            file.flush()

        yield write


def to_pandas(results: Iterable[Result], skeleton: Skeleton) -> Any:
    """A `pandas.DataFrame` with a row for each person and frame; the columns are those of `rows`, numbers not rounded.

    `id` is missing (`pandas.NA`) without one, a feature NaN where it is not known. Frames without people have no row.

    Args:
        results: of one or more sources, all with features or all without.

    Raises:
        PosertError: pandas is missing.
    """
    pandas = package("pandas", "pandas")
    kept: list[NDArray[np.float64]] = []
    sources, numbers, names = list[str](), list[int](), column_names(skeleton.names, None)
    for result in results:
        names = column_names(skeleton.names, result)
        kept.append(person_rows(result))
        sources += [result.source] * len(result.poses)
        numbers += range(len(result.poses))
    whole = dict.fromkeys(("frame", "width", "height"), "int64") | {"id": "Int64"}
    table = pandas.DataFrame(np.concatenate([np.zeros((0, len(names))), *kept]), columns=names)
    table = table.assign(id=table.id.where(table.id > 0)).astype(whole)
    table.insert(0, "source", sources)
    table.insert(ABOUT + 1, "person", numbers)
    return table


def _rounded(table: NDArray[np.float64], names: Sequence[str], keypoints: Sequence[str]) -> list[list[float]]:
    """Every column as the JSON lines round the same number."""
    decimals = np.array([_decimals(name, keypoints) for name in names])
    for count in set(decimals.tolist()):
        table[:, decimals == count] = table[:, decimals == count].round(count)
    rows: list[list[float]] = table.tolist()
    return rows


def _decimals(column: str, keypoints: Sequence[str]) -> int:
    name, _, axis = column.rpartition("_")
    if name in keypoints and axis in ("x", "y", "score"):
        return DECIMALS_SCORE if axis == "score" else DECIMALS_PX
    return _DECIMALS.get(column, DECIMALS_FEATURES)


def _text(value: float) -> str:
    """
    >>> _text(12.0), _text(0.12), _text(float("nan"))
    ('12', '0.12', '')
    """
    return "" if math.isnan(value) else str(int(value)) if value.is_integer() else repr(value)
