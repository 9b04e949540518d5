"""One conversion from name to file: fetch, verify, build, stamp, reopen, compare. Knows of systems their contract."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError, optional
from posert.export import weights
from posert.export.fetch import Progress
from posert.export.recipe import NO_DETECTOR, read_recipe
from posert.export.systems import System, find_system
from posert.export.trial import takes_rows, trial
from posert.export.verdict import differences, verdict
from posert.runtime.files.state import sha256_of
from posert.runtime.media.read import frames
from posert.runtime.options import detector_of, for_people
from posert.runtime.session import Model

if TYPE_CHECKING:
    from posert.export.onnx_file import Exported

_MOST_PHOTOS = 12


def convert(
    name: str,
    out: Path,
    *,
    from_file: Path | None = None,
    options: Iterable[str] = (),
    detector: str | None = None,
    photo: Path | None = None,
    compared: bool = True,
    accept_unpinned: bool = False,
    offline: bool = False,
    progress: Progress | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Path:
    """The file that the model `name` was exported to.

    Args:
        out: folder, or file ending in .onnx.
        from_file: the official file, already at hand.
        detector: name of the detector that is written beside a model that looks at boxes, or follows one person and
            everybody then; `none` = none, None = its
            usual one.
        options: what the system's `OPTIONS` offers.
        photo: compared on these pictures, twelve at most; on drawn scenes if None.
        compared: with the original, wherever that can be asked.
        report: gets one line per step, and the verdict of the comparison.

    Raises:
        PosertError: whatever a step says, or the export differs from its original by more than its kind may; nothing is
            written then.
    """
    entry = weights.find(name)
    own = entry.route == "embedded" and from_file is not None  # a checkpoint of one's own training: nobody pins it
    if entry.route == "embedded" and not own:
        raise PosertError(
            f"{name} comes with posert", f"posert infer {name} SOURCE; `from_file` exports one of your own training"
        )
    system, chosen = find_system(entry.system), frozenset(options)
    if entry.route == "own":
        entry = replace(entry, route=_own_route(name, system.OWN, from_file))
    if unknown := sorted(chosen - system.OPTIONS):
        raise PosertError(
            f"{name} has no option {', '.join(unknown)}", f"it has: {', '.join(system.OPTIONS) or 'none'}"
        )
    if from_file is not None and accept_unpinned and not (entry.sha256 or entry.git_blob):
        entry = replace(entry, md5="")  # weights of one's own training in the shape of the official ones
    source = weights.pull(
        entry, from_file=from_file, accept_unpinned=accept_unpinned or own, offline=offline, progress=progress
    )
    known = weights.pins(entry)
    target = _target(out, name, source)
    report(f"{source.name}: fits {known}" if entry.pinned else f"{source.name}: {known or 'no pin'}, taken as it is")
    if entry.non_commercial:
        report(f"licence: {entry.licence}; these weights may not be used commercially")
    exported = system.build(entry, source, chosen)
    looks = exported.spec.stages[0].region
    detector = detector or entry.detector or (weights.USUAL_DETECTOR if looks == "boxes" else "none")
    if looks != "frame" and detector != "none":
        found = convert(
            detector, target.parent, photo=photo, compared=compared, accept_unpinned=accept_unpinned, offline=offline,
            progress=progress, report=report,
        )  # fmt: skip
        exported = pair(exported, found)
    alone = not compared or entry.route in ("onnx", "tfjs")  # the one is its own original, none runs the other here
    judge = None if alone else partial(_verdict, system, entry, source, photo)
    for line in _save_tried(exported, target) if entry.recipe else _save_judged(exported, target, judge):
        report(line)
    report(f"{target}: {target.stat().st_size} bytes, metadata read back")
    return target


def _save_judged(exported: "Exported", target: Path, judge: Callable[[Model], str] | None) -> list[str]:
    """Saves what `judge` lets pass; what it says."""
    from posert.export import onnx_file

    said = list[str]()
    onnx_file.save(exported, target, lambda model: said.extend([judge(model)] if judge else []))
    return said


def _verdict(system: System, entry: weights.Entry, source: Path, photo: Path | None, model: Model) -> str:
    """How far the model is from its original, in a line; PosertError if its kind may not be as far."""
    rounded = system.ROUNDED.get(entry.route, "")
    if photo is None:
        pictures = _drawn_scenes(model.spec.stages[-1].region, few=not rounded)
        on = f"{len(pictures)} drawn scenes" if rounded else "a drawn scene"
    else:
        pictures, on = [frame.bgr for frame in islice(frames(photo), _MOST_PHOTOS)], str(photo)
    of = system.STAND_INS.get(entry.route, "the original")
    said = verdict(differences(model, system.reference(entry, source), pictures), of, on, rounded)
    if not said.allowed:
        raise PosertError(
            f"{entry.name} is not written, it {said.line}",
            "compare on pictures of your own with `photo`; if it differs there too: pip install -U 'posert[export]'",
        )
    return f"verdict: {said.line}"


def _own_route(name: str, known: Mapping[str, str], file: Path | None) -> str:
    """The route of a file of one's own, by its ending; `known`: see `System.OWN`."""
    if file is None:
        raise PosertError(f"{name} is for a network of your own", "name its file with `from_file`")
    ending = "" if file.is_dir() else next((one for one in known if one and file.name.endswith(one)), None)
    if ending is None or ending not in known:
        kinds = ", ".join(one or "a SavedModel's folder" for one in known)
        raise PosertError(
            f"{name} is not made of {'folders' if file.is_dir() else 'files'} like {file.name}; it is of {kinds}",
            "an ONNX file, from whatever program, takes a recipe: posert tag FILE `recipe`",
        )
    return known[ending]


def pair(exported: "Exported", detector: Path) -> "Exported":
    """`exported` with the detector in the file `detector` as its first stage, by bare name and sha256.

    Raises:
        PosertError: the file is no detector.
    """
    from posert.export import onnx_file

    spec = onnx_file.read_metadata(detector)
    if exported.spec.stages[0].region == "frame":
        raise PosertError(f"{exported.spec.model} finds people without a detector", "leave `detector` away")
    first = detector_of(spec, exported.spec, detector)
    first = replace(first, file=detector.name, sha256=sha256_of(detector))
    stages = (first, *map(for_people, exported.spec.stages))
    return onnx_file.Exported(exported.graph, replace(exported.spec, stages=stages))


def _target(out: Path, name: str, *sources: Path) -> Path:
    """The file `out`, or `<name>.onnx` in the folder `out`; PosertError if that is one of the sources."""
    target = out if out.suffix == ".onnx" else out / f"{name}.onnx"
    if target.exists() and any(target.samefile(source) for source in sources):
        raise PosertError(f"{target} is what the result is made of", "name another file or folder with `output`")
    return target


def tag(
    file: str | Path,
    name: str = "",
    out: str | Path = Path(),
    *,
    recipe: str | Path | Mapping[str, Any] | None = None,
    detector: str | Path | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Path:
    """A new file: a ready-made ONNX with the metadata of `name`, or of a recipe.

    Args:
        file: the ONNX file; it stays as it is.
        name: a name of `models.lock` whose route is onnx.
        out: folder, or file ending in .onnx.
        recipe: a file in TOML (docs/FORMAT.md), or what one holds, parsed; in place of `name`.
        detector: a tagged detector in the same folder, which finds the boxes for a model that looks at them; goes
            before the one that the recipe names.
        report: gets what the network and its decoder give for a drawn picture, line by line; for recipes.

    Raises:
        PosertError: no such file or name, a recipe that is not whole or does not fit the graph (says which line or
            key), tensors that do not fit, a detector in another folder, or `out` is a source.
    """
    file, out, beside = Path(file), Path(out), None if detector is None else Path(detector)
    if bool(name) == (recipe is not None):
        raise PosertError(f"nobody can tell what {file} is", "say it with one of `name` and `recipe`")
    if name:
        _check_ready(name)
    if not file.is_file():
        raise PosertError(f"there is no file {file}", "check the path")
    optional("onnx", "writing ONNX files needs the package onnx", "convert")
    from posert.export import onnx_file, own_file

    if recipe is None:
        target = _target(out, name, file, *([beside] if beside else []))
        exported = find_system(weights.find(name).system).build(weights.find(name), file, frozenset())
        onnx_file.save(exported if beside is None else pair(exported, _in_its_folder(beside, target)), target)
        return target
    read = read_recipe(recipe, f"{file.stem}-posert" if isinstance(recipe, Mapping) else Path(recipe).stem)
    target = _target(out, read.spec.model, file, *([beside] if beside else []))
    if beside is None and read.detector != NO_DETECTOR:
        beside = target.with_name(read.detector)
    exported = own_file.build(file, read)
    exported = exported if beside is None else pair(exported, _in_its_folder(beside, target))
    read.check(exported.spec)
    for line in _save_tried(exported, target):
        report(line)
    return target


class _OneRow(Exception):
    """A network whose batch axis is free by its words alone."""


def _save_tried(exported: "Exported", target: Path) -> list[str]:
    """Saves what has been tried on a drawn picture, as a network of one row if more do not work; what it gave."""
    from posert.export import onnx_file, onnx_nodes

    picture, lines = _drawn(), list[str]()

    def try_it(model: Model) -> None:
        lines[:] = trial(model, picture)
        if not takes_rows(model, picture):
            raise _OneRow

    try:
        onnx_file.save(exported, target, try_it)
    except _OneRow:
        onnx_nodes.fix_rows(exported.graph, exported.spec.stages[-1].input.name)
        onnx_file.save(exported, target, try_it)
    return lines


def guess(file: str | Path) -> str:
    """A recipe (TOML) for an ONNX file to fill in: what its shapes and names do not say has the value `?`.

    Raises:
        PosertError: there is no such file, it is no ONNX file, or it takes no picture.
    """
    optional("onnx", "reading ONNX files needs the package onnx", "convert")
    from posert.export import guess as from_graph

    return from_graph.guess(Path(file))


def _check_ready(name: str) -> None:
    """Raises PosertError if the row `name` is no ready-made ONNX."""
    if weights.find(name).route != "onnx":
        ready = [known.name for known in weights.entries().values() if known.route == "onnx"]
        raise PosertError(f"{name} is not a ready-made ONNX", f"posert export {name}; tag knows {', '.join(ready)}")


def _in_its_folder(detector: Path, target: Path) -> Path:
    """The file of a detector; PosertError if it does not lie beside `target`."""
    if not detector.is_file():
        there = ", ".join(sorted(file.name for file in detector.parent.glob("*.onnx")))
        hint = "put it into the folder of the result" + (f", which has {there}" if there else "")
        raise PosertError(f"there is no detector {detector}", hint)
    if detector.resolve().parent != target.resolve().parent:
        raise PosertError(f"{detector} lies in another folder than {target}", "put both files into one folder")
    return detector


def _drawn() -> NDArray[np.uint8]:
    """The first picture of the drawn clip, u8 [H,W,3]."""
    from posert.export.nano import clip

    return np.asarray(clip.render(0)[0], np.uint8)


def _drawn_scenes(region: str, *, few: bool) -> list[NDArray[np.uint8]]:
    """Pictures u8 [H,W,3] for a network that looks at a region: of several people, or of one each."""
    from posert.export.nano import clip

    if region == "frame":
        return [_drawn(), *([] if few else (clip.render(index)[0] for index in (60, 120)))]
    alone = ((0, 0), (0, 2), (30, 3), (75, 1), (120, 2), (150, 3))  # frame and figure
    return [clip.alone(*each) for each in (alone[:1] if few else alone)]
