"""What a run may write over: none of its inputs, and nothing that somebody else wrote. Asked before it writes anything.

Owns these two rules. Knows jobs, recipes and manifests, nothing of what is in a file.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from posert.errors import PosertError
from posert.runtime.files.atomic import partial_of, written_through
from posert.runtime.files.formats import FORMATS, formats_of
from posert.runtime.files.ours import replaceable
from posert.runtime.files.overlay import named_by
from posert.runtime.jobs.job import Job
from posert.runtime.jobs.ledger import Account, Ledger
from posert.runtime.jobs.recipe import Recipe
from posert.runtime.media.members import TAR
from posert.runtime.session import files_of
from posert.runtime.store.scratch import file_of

_Identity = tuple[int, int]
"""Device and number of a file or a folder, the same by every name that it has."""


def protect(
    jobs: Sequence[Job], sources: Sequence[str], recipe: Recipe, manifest: Account | None = None, *,
    overwrite: bool,
) -> None:  # fmt: skip
    """Refuses jobs that would write over an input, or over what neither posert wrote nor the user gives up.

    Args:
        jobs: of `plan`. sources: what they were planned from; a list (`@list.txt`) is an input too.
        overwrite: files of others may be replaced, folders never.

    Raises:
        PosertError: the first of them; or two outputs have one place, or one lies in the other.
    """
    if isinstance(manifest, Ledger):  # it writes nothing but files with names of its own, in folders that it looks into
        return
    manifests = [] if manifest is None else [manifest.path]
    _check_apart([*manifests, *(path for job in jobs for path in job.files)])
    inputs = {known: path for path in _inputs(jobs, sources, recipe) for known in (*_identity(path), *_folders(path))}
    named = set() if manifest is None else manifest.named()
    for path in manifests:
        _keep_inputs(path, inputs)
    for job in jobs:
        for path in job.files:
            _keep_inputs(path, inputs)
            if not (_ours_by_name(path, job, recipe, named) or written_through(path) or replaceable(path)):
                _refuse(path, overwrite)


def protect_files(files: Sequence[Path], inputs: Iterable[Path], *, overwrite: bool) -> None:
    """As `protect`, for a few files that are to be written, and those that are read for them."""
    _check_apart(files)
    known = {name: path for path in inputs for name in (*_identity(path), *_folders(path))}
    for path in files:
        _keep_inputs(path, known)
        if not (written_through(path) or replaceable(path)):
            _refuse(path, overwrite)


def _check_apart(files: Sequence[Path]) -> None:
    """Raises PosertError if two of the files have one place, or one is to lie in the other."""
    places = Counter(os.path.realpath(path) for path in files)
    wrong = [
        place for place, count in places.items() if count > 1 or any(str(p) in places for p in Path(place).parents)
    ]
    if wrong:
        raise PosertError(
            f"several sources would write {', '.join(sorted(wrong))}, or `output` and `overlay` of one",
            "give their common folder as the source, or give them names of their own, rows of a list an id each",
        )


def _keep_inputs(path: Path, inputs: dict[_Identity, Path]) -> None:
    """Raises PosertError if a path, or what may be kept beside it, is one of the inputs, or a folder of one."""
    for each in (*_identity(path), *_identity(partial_of(path))):
        if each in inputs:
            what = f"{path} would be written over {inputs[each]}, an input"
            raise PosertError(what, "choose another place with `output`")


def _refuse(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        what = f"the folder {path} holds what posert did not write, or what was changed since"
        raise PosertError(what, "move it away, or choose another place with `output`")
    if not overwrite:
        what = f"{path} was not written by posert, or was changed since"
        raise PosertError(what, "say `overwrite` to replace it, or choose another place with `output`")


def _inputs(jobs: Sequence[Job], given: Sequence[str], recipe: Recipe) -> Iterator[Path]:
    sources = dict.fromkeys(job.source for job in jobs)  # of addresses none is there
    yield from map(Path, dict.fromkeys((*sources, *map(file_of, sources))))
    yield from (Path(source.removeprefix("@")) for source in given if source.startswith("@") or source.endswith(TAR))
    yield from files_of(recipe.model, recipe.options)
    if recipe.settings.boxes is not None:
        yield Path(recipe.settings.boxes)


def _identity(path: Path) -> list[_Identity]:
    """Nothing of what is not there, and of devices and pipes."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return []
    return [] if written_through(path) else [(found.st_dev, found.st_ino)]


def _folders(path: Path) -> Iterator[_Identity]:
    for folder in Path(os.path.realpath(path)).parents if os.path.isfile(path) else []:
        yield from _identity(folder)


def _ours_by_name(path: Path, job: Job, recipe: Recipe, named: set[Path]) -> bool:
    """Whether a manifest says that this is posert's place; in a folder every name must be of the format's."""
    if Path(os.path.abspath(path)) not in named:
        return False
    if path == job.overlay and path.is_dir():
        return bool(job.pictures) and all(named_by(path, job.pictures))
    forms = dict(zip(job.outputs, formats_of(recipe.settings.form), strict=False))
    return path.is_file() or (path in forms and all(FORMATS[forms[path]].named_by(path, job.source)))
