"""Models by name: what a name of `models.lock` stands for becomes a file in the cache once; the runtime gets its path.

Owns that folder of made files, one for each version of posert, and the question about licences. Knows no formats.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from posert import __version__
from posert.errors import PosertError, optional
from posert.export import weights
from posert.export.fetch import Progress
from posert.export.weights import Entry
from posert.runtime.files.locks import release, take
from posert.runtime.files.ours import cache_folder
from posert.runtime.options import ModelOptions, OptionChanges
from posert.runtime.session import Model, files_of
from posert.runtime.session import open_model as open_file

_LOG = logging.getLogger("posert")
_PAUSE_S = 0.2


@dataclass(frozen=True, slots=True)
class Terms:
    """What whoever asks for a model by name agrees to, and how it is told what happens.

    Attributes:
        accept_licence: take weights whose licence is not permissive, or not known.
        accept_unpinned: take files that have no published hash.
        progress: of the downloads.
        report: gets one line per step.
    """

    accept_licence: bool = False
    accept_unpinned: bool = False
    progress: Progress | None = None
    report: Callable[[str], None] = _LOG.info


def open_model(
    path: str | Path,
    options: ModelOptions | None = None,
    *,
    accept_licence: bool = False,
    accept_unpinned: bool = False,
    **changes: Unpack[OptionChanges],
) -> Model:
    """An open model, ready to run.

    Args:
        path: an .onnx file made by `posert export` or `posert tag`, `nano`, the network inside the package, or another
            name of `posert models list`: it is fetched and made the first time, and kept.
        options: how to open it; None = `ModelOptions()`.
        accept_licence: take weights whose licence is not permissive, or not known.
        accept_unpinned: take files that have no published hash.
        changes: fields of `ModelOptions`, over `options`: `open_model("nano", device="cpu", threads=2)`.

    Raises:
        PosertError: no such file or name, a licence or a file that must be agreed to, nothing to fetch from; not an
            ONNX file, no or bad metadata, tensors that disagree with it, a device that cannot be honoured, no or two
            ONNX Runtime packages.
    """
    terms = Terms(accept_licence, accept_unpinned)
    chosen = replace(options or ModelOptions(), **changes)
    detector = None if chosen.detector is None else model_file(chosen.detector, terms)
    parts = tuple(model_file(part, terms) for part in chosen.parts)
    return open_file(model_file(path, terms), replace(chosen, detector=detector, parts=parts))


def model_file(model: str | Path, terms: Terms | None = None) -> str | Path:
    """What the runtime opens: a path as it is, and `nano`; for a name of `models.lock` the file made of it.

    Raises:
        PosertError: whatever making it says; the name needs a framework, or is nearly one that there is.
    """
    if not isinstance(model, str) or model == "nano" or Path(model).is_file() or Path(model).name != model:
        return model
    entry = weights.entries().get(model)
    if entry is None:
        near = weights.nearest(model)
        if near and not model.endswith(".onnx"):
            raise PosertError(f"there is no model {model!r}, neither a file nor a name", f"did you mean {near}?")
        return model
    return _made(entry, terms or Terms())


def _made(entry: Entry, terms: Terms) -> str | Path:
    """The file of an entry, in the folder of this version; made if it is not there."""
    if entry.route == "embedded":
        return entry.name
    file = cache_folder() / "models" / __version__ / f"{entry.name}.onnx"
    if _whole(file):
        return file
    more = ("" if entry.url else " `from_file`") + ("" if entry.pinned else " `accept_unpinned`")
    if not entry.light:
        raise PosertError(
            f"{entry.name} is converted once, by another framework (pip install 'posert[{entry.extra}]')",
            f"posert export {entry.name}{more}; then give {entry.name}.onnx",
        )
    if not entry.by_name and not os.environ.get("POSERT_MIRROR") and weights.status(entry) == "not fetched":
        raise PosertError(
            f"{entry.name} has no address to fetch it from: {entry.source}",
            f"get it there, then: posert export {entry.name}{more}; and give {entry.name}.onnx",
        )
    optional("onnx", f"{entry.name} becomes a model file with the package onnx, which is not installed", entry.extra)
    _ask(entry, terms)
    with _alone(terms):
        if not _whole(file):  # or another process made it meanwhile
            from posert.export.convert import convert

            terms.report(f"{entry.name}: licence {entry.licence}; made once, from {entry.source or entry.url}")
            convert(
                entry.name, file, compared=False, accept_unpinned=terms.accept_unpinned, progress=terms.progress,
                report=terms.report,
            )  # fmt: skip
    return file


def _whole(file: Path) -> bool:
    return file.is_file() and all(path.is_file() for path in files_of(file))


def _ask(entry: Entry, terms: Terms) -> None:
    """Raises PosertError if the weights of an entry, or of its detector, are not for everybody."""
    for one in (entry, *([weights.find(entry.detector)] if entry.detector not in ("", "none") else [])):
        if not (one.permissive or terms.accept_licence):
            raise PosertError(
                f"the licence of the weights of {one.name} is not permissive, or not known: {one.licence}",
                f"read it at {one.source}; if it allows what you do, add `accept_licence`",
            )


@contextmanager
def _alone(terms: Terms) -> Iterator[None]:
    """Waits while another process makes a model; a killed one stops nobody."""
    lock, said = None, False
    path = cache_folder() / "models.lock"
    while lock is None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = take(path)
        except BlockingIOError:
            if not said:
                terms.report(f"waiting for another posert that makes a model ({path})")
            said = True
            time.sleep(_PAUSE_S)
        except OSError:  # no locks there, or nothing can be written, which whoever writes says
            _LOG.debug("%s cannot be locked", path, exc_info=True)
            break
    try:
        yield
    finally:
        release(lock)
