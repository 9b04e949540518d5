"""The list of models for people and for programs: one line each in 80 columns, or JSON. Knows the cache, no models."""

import json
from collections.abc import Iterator
from dataclasses import asdict

from posert.export import weights
from posert.export.weights import Entry

_ONE_LINE = "posert infer NAME SOURCE   it is fetched and made once (posert[convert])"
_FIRST = "posert export NAME   first (posert[export]); then posert infer NAME.onnx SOURCE"
_NAME = 29
_LICENCES = {"CMU OpenPose, research only": "research only", "AlphaPose, research only": "research only"}


def as_text() -> str:
    """Two tables, what runs in one line and what is converted first; no line has more than 80 columns."""
    known = list(weights.entries().values())
    lines = [*_table(_ONE_LINE, [entry for entry in known if entry.by_name])]
    lines += ["", *_table(_FIRST, [entry for entry in known if not entry.by_name])]
    notes = [
        "AP as its authors claim, on data and boxes of their own: no two of them compare.",
        "! its licence is not permissive or not known   ? no whole hash of it is known",
        "* it is in the cache   @ nothing to fetch it from; JSON says where it comes from",
    ]
    return "\n".join([*lines, "", *notes])


def _table(title: str, entries: list[Entry]) -> Iterator[str]:
    yield title
    yield f"{'':{_NAME}} {'MB':>5} {'finds':15} {'AP':>4}  licence"
    for entry in entries:
        if len(entry.name) > _NAME:
            yield entry.name
        yield f"{entry.name if len(entry.name) <= _NAME else '':{_NAME}} {_rest(entry)}".rstrip()


def _rest(entry: Entry) -> str:
    state = weights.status(entry)
    marks = "" if all(file.pinned for file in entry.files) or state == "embedded" else " ?"
    marks += "" if entry.url or state == "embedded" else " @"
    marks += {"damaged": " damaged", "not fetched": ""}.get(state, " *")
    licence = _licence(entry) + ("" if entry.permissive else " !")
    return f"{_megabytes(entry):>5} {entry.finds:15} {entry.ap or '':>4}  {licence}{marks}"


def _licence(entry: Entry) -> str:
    """The licence in a few letters."""
    return _LICENCES.get(entry.licence, entry.licence.split(" (")[0].split(":")[0])


def _megabytes(entry: Entry) -> str:
    """The size of all its files, if it is known."""
    sizes = [file.bytes for file in entry.files]
    return f"{sum(sizes) / 1e6:.1f}" if all(sizes) else ""


def as_json() -> str:
    """A list of objects: the fields of `Entry`, and `runs_by_name`, `permissive`, `bytes_in_all` (0 = unknown),
    `pinned_by` and `cache`.
    """
    rows = []
    for entry in weights.entries().values():
        sizes = [file.bytes for file in entry.files]
        more = {
            "runs_by_name": entry.by_name, "permissive": entry.permissive, "pinned_by": weights.pins(entry),
            "bytes_in_all": sum(sizes) if all(sizes) else 0, "cache": weights.status(entry),
        }  # fmt: skip
        rows.append({key: value for key, value in asdict(entry).items() if value and key != "bytes_at_most"} | more)
    return json.dumps(rows, indent=1)
