"""The comparison of models as one page, and as a figure for print: rows pictures, columns models.

Owns both layouts. The figures and the people come from `measure/compare.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.measure.compare import Run, agreement, as_record, figures, run
from posert.measure.evaluate import evaluate
from posert.pages.html import page
from posert.pages.pack import pack, tabulate
from posert.pages.report import embedded
from posert.poses import Frame, Skeleton
from posert.runtime.after.options import TrackOptions
from posert.runtime.files.atomic import whole_file, whole_text
from posert.runtime.files.drawing import DrawOptions, draw
from posert.runtime.jobs.guard import protect_files
from posert.runtime.jobs.recipe import Selection
from posert.runtime.media import is_image
from posert.runtime.media.live import is_live
from posert.runtime.media.read import expand
from posert.runtime.options import ModelOptions
from posert.runtime.session import files_of, open_model

_CELL_PX = 480
_HEAD_PX = 44
_WHITE, _INK = (255, 255, 255), (30, 30, 30)


@dataclass(frozen=True, slots=True)
class Compared:
    """One model: its name, skeleton, what a page says of it, and its run over each source."""

    name: str
    skeleton: Skeleton
    about: dict[str, Any]
    runs: list[Run]


def media_of(sources: Sequence[str]) -> list[tuple[str, str]]:
    """The files behind the sources, (path, name). Raises PosertError for those that give other frames each time."""
    found = [pair for source in sources for pair in expand(source)]
    for path, _ in found:
        if path == "-" or is_live(path):
            what = f"{path} gives other frames to every model"
            raise PosertError(what, "record it, and compare on the file")
    return found


def compare(
    models: Sequence[tuple[str, str]],
    media: Sequence[tuple[str, str]],
    *,
    options: ModelOptions | None = None,
    selection: Selection | None = None,
    coco: tuple[Path, Path] | None = None,
    tracking: TrackOptions | None = None,
    on_frame: Callable[[str, int], None] | None = None,
) -> list[Compared]:
    """Runs each model, one after the other, over the same frames.

    Args:
        models: (name, file) of each. media: of `media_of`. selection: which of their frames, and how these are turned.
        coco: annotations and folder of the pictures for the AP.
        tracking: how people get their ids.
        on_frame: called with the model's name and the frames done of a source.

    Raises:
        PosertError: a model or a source cannot be read.
    """
    found, chosen = [], selection or Selection()
    for name, file in models:

        def done(count: int, name: str = name) -> None:
            if on_frame is not None:
                on_frame(name, count)

        with open_model(file, options) as model:
            runs = [run(model, chosen.of(path), done, tracking) for path, _ in media]
            for (path, _), made in zip(media, runs, strict=True):
                if not made.results:
                    raise PosertError(f"{path}: no frame was selected", "check `start_s`, `stop_s`, `first` and `last`")
            about = {
                "name": name,
                "licence": model.spec.licence,
                "bytes": sum(item.stat().st_size for item in files_of(file)),
                "figures": as_record(figures(runs)),
                "ap": None if coco is None else evaluate(model, *coco).ap,
            }
            found.append(Compared(name, model.spec.skeleton, about, runs))
    return found


def write_comparison(
    compared: Sequence[Compared], media: Sequence[tuple[str, str]], output: Path, selection: Selection | None = None
) -> None:
    """Writes the page, its media turned as `selection` says.

    Raises:
        PosertError: a source is too large for it, or the file cannot be written.
    """
    blocks: dict[str, str] = {}
    orientation = (selection or Selection()).orientation
    sources = []
    for number, (path, name) in enumerate(media):
        medium, held = embedded(Path(path), f"medium-{number}", None, orientation)
        blocks |= held
        heads = []
        for column, model in enumerate(compared):
            head, columns = pack(tabulate(model.runs[number].results, model.skeleton), model.skeleton)
            heads.append(head | {"events": []})
            blocks[f"people-{number}-{column}"] = columns["people"]
        sources.append({
            "title": name,
            "medium": medium,
            "recordings": heads,
            "ms": [_milliseconds(model.runs[number]) for model in compared],
            "agreement": _agreements(compared, number),
        })  # fmt: skip
    data = {"title": "Models compared", "models": [model.about for model in compared], "sources": sources}
    with whole_text(output) as file:
        file.write(page("Models compared - posert", entry="compare", data=data, blocks=blocks))


def _milliseconds(made: Run) -> float:
    return float(np.median([sum(result.timings_ms.values()) for result in made.results]))


def _agreements(compared: Sequence[Compared], number: int) -> list[list[dict[str, Any] | None]]:
    """Above the diagonal, of each pair of models: the mean, and of every frame hundredths."""
    found: list[list[dict[str, Any] | None]] = [[None] * len(compared) for _ in compared]
    for (a, one), (b, other) in combinations(enumerate(compared), 2):
        results = one.runs[number].results, other.runs[number].results
        alike = agreement(*results, (one.skeleton, other.skeleton))
        found[a][b] = {"mean": round(float(alike.mean()), 4), "frames": (100 * alike).round().astype(int).tolist()}
    return found


def write_figure(
    compared: Sequence[Compared],
    media: Sequence[tuple[str, str]],
    output: Path,
    selection: Selection | None = None,
    options: DrawOptions | None = None,
) -> None:
    """Writes the grid: of each source the middle one of its frames, drawn by each model as the options say."""
    chosen = selection or Selection()
    rows = [_row(compared, number, path, chosen, options) for number, (path, _) in enumerate(media)]
    grid = np.concatenate([_headings(compared), *rows])
    with whole_file(output) as temporary:
        temporary.write_bytes(cv2.imencode(output.suffix, grid)[1].tobytes())


def _row(
    compared: Sequence[Compared], number: int, path: str, selection: Selection, options: DrawOptions | None
) -> NDArray[np.uint8]:
    middle = len(compared[0].runs[number].results) // 2
    frame: Frame = next(frame for place, frame in enumerate(selection.of(path)) if place == middle)
    scale = _CELL_PX / frame.size_wh[0]
    cells = []
    for model in compared:
        drawn = draw(frame.bgr, model.runs[number].results[middle].poses, model.skeleton, options)
        small = cv2.resize(drawn, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        cells.append(cv2.copyMakeBorder(small, 4, 4, 4, 4, cv2.BORDER_CONSTANT, value=_WHITE))
    return np.concatenate(cells, axis=1).astype(np.uint8)


def _headings(compared: Sequence[Compared]) -> NDArray[np.uint8]:
    width = _CELL_PX + 8
    strip = np.full((_HEAD_PX, width * len(compared), 3), 255, np.uint8)
    for column, model in enumerate(compared):
        (length, _), _ = cv2.getTextSize(model.name, cv2.FONT_HERSHEY_SIMPLEX, 0.7, 1)
        size = 0.7 * min(1.0, (width - 16) / max(1, length))
        place = (column * width + 8, _HEAD_PX - 14)
        cv2.putText(strip, model.name, place, cv2.FONT_HERSHEY_SIMPLEX, size, _INK, 1, cv2.LINE_AA)
    return strip


def protect(
    page_file: Path | None, figure: Path | None, media: Sequence[tuple[str, str]], files: Sequence[str], *,
    overwrite: bool,
) -> None:  # fmt: skip
    """Refuses outputs that cannot be written, or only over a source, a model or what posert did not write."""
    if figure is not None and not (is_image(figure) and cv2.haveImageWriter(str(figure))):
        raise PosertError(f"OpenCV cannot write {figure.suffix} files", "name a .png or .jpg")
    outputs = [path for path in (page_file, figure) if path is not None]
    models = [path for file in files for path in files_of(file)]
    protect_files(outputs, [*(Path(path) for path, _ in media), *models], overwrite=overwrite)
