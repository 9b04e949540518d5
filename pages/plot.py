"""Joint angles over time, a plot for each joint: as a page like the report's, or as a figure for print.

Owns both layouts. Angles are those of `runtime/after/features.py`; drawing is the browser's, or matplotlib's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from posert.errors import PosertError, optional
from posert.pages.events import events_of
from posert.pages.html import page
from posert.pages.pack import Table, pack, tabulate
from posert.pages.report import facts_of, title_of
from posert.runtime.files.atomic import whole_file, whole_text
from posert.runtime.files.results import Recording, read_results
from posert.runtime.jobs.guard import protect_files

MOST_PEOPLE = 6
"""In a figure, those seen longest: more lines are no plot any more."""
_FIGURES = (".png", ".svg", ".pdf")
_WIDTH_IN, _HEIGHT_IN, _DPI = 10, 2.2, 120
Track = tuple[int, int, int]


def write_plot(results: Path, output: Path, *, ids: Sequence[int] = (), overwrite: bool = False) -> list[int]:
    """Writes the angles of a recording's joints; returns the ids that are in it.

    Args:
        results: a file of the formats jsonl, json or npz; with features or without.
        output: .html for a page, .png, .svg or .pdf for a figure.
        ids: whom; none = everybody, in a figure the `MOST_PEOPLE` seen longest. A page shows the first of them first.
        overwrite: a file that posert did not write may be replaced.

    Raises:
        PosertError: the results cannot be read, have no joints or nobody of these ids; or the output cannot be written.
    """
    if output.suffix.lower() not in (".html", *_FIGURES):
        raise PosertError(f"{output.name} is neither a page nor a figure", "name an .html, .png, .svg or .pdf")
    protect_files([output], [results], overwrite=overwrite)
    recording = read_results(results)
    table = tabulate(recording.results, recording.skeleton)
    tracks = _chosen(table, ids)
    if not table.joints:
        raise PosertError(f"{results} has no joints: its keypoints are not a body's", "name results of a body")
    if output.suffix.lower() == ".html":
        _write_page(recording, table, tracks[0], output)
    else:
        tracks = tracks[:MOST_PEOPLE]
        _write_figure(recording, table, tracks, output)
    return [key for key, _, _ in tracks]


def _chosen(table: Table, ids: Sequence[int]) -> list[Track]:
    """Everybody with an id, or these, the longest first; all rows together if nobody has one."""
    tracks = sorted(table.tracks(), key=lambda track: track[1] - track[2])
    known = [track for track in tracks if track[0]]
    missing = sorted(set(ids) - {key for key, _, _ in known})
    if missing:
        said = ", ".join(str(key) for key in sorted(key for key, _, _ in known)) or "none"
        raise PosertError(f"there is no id {', '.join(map(str, missing))}; there are {said}", "leave `ids` away")
    chosen = [track for track in known if not ids or track[0] in ids]
    if not (chosen or tracks):
        raise PosertError("there is nobody in these results", "run infer again")
    return chosen or _one_a_frame(table, tracks)


def _one_a_frame(table: Table, tracks: list[Track]) -> list[Track]:
    """People without ids are one person if there never are two."""
    if len(set(table.position.tolist())) < len(table.position):
        raise PosertError("these people have no ids, so nobody has a curve", "run infer with `track`")
    return tracks


def _write_page(recording: Recording, table: Table, first: Track, output: Path) -> None:
    head, columns = pack(table, recording.skeleton)
    title = title_of(recording)
    data = {
        "title": title,
        "facts": facts_of(recording, table),
        "longest": table.tracks().index(first),
        "recording": head | {"events": events_of(table)},
    }
    with whole_text(output) as file:
        file.write(page(f"{title} - posert", entry="plot", data=data, blocks=columns))


def _write_figure(recording: Recording, table: Table, tracks: Sequence[Track], output: Path) -> None:
    """A row for each joint: left drawn through, right dashed; a colour for each person."""
    optional("matplotlib", "a figure needs matplotlib", "plot")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    joints = list(dict.fromkeys(name.removeprefix("left_").removeprefix("right_") for name in table.joints))
    figure = Figure((_WIDTH_IN, _HEIGHT_IN * len(joints)), dpi=_DPI, layout="constrained")
    axes = figure.subplots(len(joints), 1, sharex=True, squeeze=False)[:, 0]
    for joint, axis in zip(joints, axes, strict=True):
        for number, (key, begin, end) in enumerate(tracks):
            for side, dash in (("left", "-"), ("right", "--")):
                if f"{side}_{joint}" in table.joints:
                    column = np.degrees(table.angles[begin:end, table.joints.index(f"{side}_{joint}")])
                    label = f"{f'id {key}, ' if key else ''}{side}"
                    axis.plot(*_with_gaps(table, begin, end, column), dash, color=f"C{number}", label=label, lw=1.2)
        axis.set(ylabel=f"{joint}, °", ylim=(0, 185), yticks=(0, 45, 90, 135, 180))
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("time, s")
    axes[0].set_title(title_of(recording))
    lines, labels = axes[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=len(tracks), fontsize="small")
    about: dict[str, Any] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(output.suffix.lower(), {})
    with whole_file(output) as temporary, rc_context({"svg.hashsalt": "posert"}):
        figure.savefig(temporary, metadata=about)


def _with_gaps(table: Table, begin: int, end: int, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Times and values of a person's frames, NaN in each frame of the video that the person is not in."""
    first, last = table.position[begin], table.position[end - 1]
    whole = np.full(last - first + 1, np.nan)
    whole[table.position[begin:end] - first] = values
    return table.times[first : last + 1], whole
