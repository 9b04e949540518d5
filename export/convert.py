"""One conversion from name to file: fetch, verify, build, stamp, reopen, compare. Knows of systems their contract."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.export import weights
from posert.export.fetch import Progress
from posert.export.systems import find_system
from posert.postprocess import decoder
from posert.runtime.files.state import sha256_of
from posert.runtime.media.read import frames
from posert.runtime.prepare import prepare
from posert.runtime.session import open_model
from posert.runtime.windows import place

if TYPE_CHECKING:
    from posert.export.onnx_file import Exported, Reference


def convert(
    name: str,
    out: Path,
    *,
    from_file: Path | None = None,
    options: Iterable[str] = (),
    detector: str | None = None,
    photo: Path | None = None,
    accept_unpinned: bool = False,
    offline: bool = False,
    progress: Progress | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Path:
    """The file that the model `name` was exported to.

    Args:
        out: folder, or file ending in .onnx.
        from_file: the official file, already at hand.
        detector: name of the detector that is written beside a model that looks at boxes; `none` = none, None = its
            usual one.
        options: what the system's `OPTIONS` offers.
        photo: compared on this picture; a drawn one if None.
        report: gets one line per step.

    Raises:
        PosertError: whatever a step says; nothing is written then.
    """
    entry = weights.find(name)
    own = entry.route == "embedded" and from_file is not None  # a checkpoint of one's own training: nobody pins it
    if entry.route == "embedded" and not own:
        raise PosertError(
            f"{name} comes with posert", f"posert infer {name} SOURCE; `from_file` exports one of your own training"
        )
    system, chosen = find_system(entry.system), frozenset(options)
    if unknown := sorted(chosen - system.OPTIONS):
        raise PosertError(
            f"{name} has no option {', '.join(unknown)}", f"it has: {', '.join(system.OPTIONS) or 'none'}"
        )
    from posert.export import onnx_file
    from posert.export.nano import clip

    picture = np.asarray(clip.render(0)[0], np.uint8) if photo is None else next(frames(photo)).bgr
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
    exported, detector = system.build(entry, source, chosen), detector or entry.detector
    if exported.spec.stages[0].region == "boxes" and detector != "none":
        found = convert(
            detector, target.parent, photo=photo, accept_unpinned=accept_unpinned, offline=offline, progress=progress,
            report=report,
        )  # fmt: skip
        exported = pair(exported, found)
    onnx_file.save(exported, target)
    report(f"{target}: {target.stat().st_size} bytes, metadata read back")
    if entry.route != "onnx":
        reference = system.reference(entry, source)
        report(f"compared with {system.STAND_INS.get(entry.route, 'the original')} on {photo or 'a drawn picture'}:")
        report(_compare(target, reference, picture))
    return target


def _compare(path: Path, reference: "Reference", bgr: NDArray[np.uint8]) -> str:
    """How far the exported model in `path` is from its original on the picture u8 [H,W,3], in a few lines.

    Both see the same tensor. Of each role: the largest difference and the largest value of the original. Of the people:
    how many each finds and, if as many, how far apart a keypoint is at most that both find with a score above 0.2, px
    of the network input.
    """
    with open_model(path, device="cpu", threads=1) as model:
        stage = model.spec.stages[-1]
        size_wh = bgr.shape[1], bgr.shape[0]
        whole = np.array([[0, 0, *size_wh]], np.float32)  # the one region of a model that looks at boxes
        windows, input_wh = place(size_wh, stage.input, whole if stage.region == "boxes" else None)
        tensor = prepare(bgr, windows, stage.input, input_wh)
        ours, theirs = model.run(stage.name, tensor), reference(tensor)
        decode = decoder(stage.decoder).decode
        one, other = (
            decode(outputs, model.spec.skeleton, model.params(stage.name), input_wh)[0] for outputs in (theirs, ours)
        )
    lines = []
    for role, value in theirs.items():
        difference, top = np.abs(ours[role] - value).max(initial=0), np.abs(value).max(initial=0)
        lines.append(f"{role}: largest difference {difference:.2g} of {top:.3g}")
    people = f"people: {len(one)} by the original, {len(other)} by the export"
    if len(one) == len(other) > 0:
        both = (one.keypoints[:, :, 2] > 0.2) & (other.keypoints[:, :, 2] > 0.2)
        apart = np.hypot(*np.moveaxis(one.keypoints[:, :, :2] - other.keypoints[:, :, :2], -1, 0))
        people += f", keypoints at most {apart[both].max(initial=0):.2g} px apart"
    return "\n".join([*lines, people])


def pair(exported: "Exported", detector: Path) -> "Exported":
    """`exported` with the detector in the file `detector` as its first stage, by bare name and sha256.

    Raises:
        PosertError: the file is no detector.
    """
    from posert.export import onnx_file

    spec = onnx_file.read_metadata(detector)
    if spec.skeleton.names or len(spec.stages) != 1 or exported.spec.stages[0].region != "boxes":
        raise PosertError(f"{spec.model} cannot find boxes for {exported.spec.model}", "give a detector, or none")
    first = replace(spec.stages[0], name="detector", file=detector.name, sha256=sha256_of(detector))
    return onnx_file.Exported(exported.graph, replace(exported.spec, stages=(first, *exported.spec.stages)))


def _target(out: Path, name: str, *sources: Path) -> Path:
    """The file `out`, or `<name>.onnx` in the folder `out`; PosertError if that is one of the sources."""
    target = out if out.suffix == ".onnx" else out / f"{name}.onnx"
    if target.exists() and any(target.samefile(source) for source in sources):
        raise PosertError(f"{target} is what the result is made of", "name another file or folder with `output`")
    return target


def tag(file: Path, name: str, out: Path = Path(), *, detector: Path | None = None) -> Path:
    """A new file: a ready-made ONNX with the metadata of `name`.

    Args:
        out: folder, or file ending in .onnx.
        detector: a tagged detector in the same folder, which finds the boxes for a model that looks at them.

    Raises:
        PosertError: no such file or name, tensors that do not fit, a detector in another folder, or `out` is a source.
    """
    entry = weights.find(name)
    if entry.route != "onnx":
        ready = [known.name for known in weights.entries().values() if known.route == "onnx"]
        raise PosertError(f"{name} is not a ready-made ONNX", f"posert export {name}; tag knows {', '.join(ready)}")
    if not file.is_file():
        raise PosertError(f"there is no file {file}", "check the path")
    from posert.export import onnx_file

    target = _target(out, name, file, *([detector] if detector else []))
    exported = find_system(entry.system).build(entry, file, frozenset())
    if detector is not None:
        if detector.resolve().parent != target.resolve().parent:
            raise PosertError(f"{detector} lies in another folder than {target}", "put both files into one folder")
        exported = pair(exported, detector)
    onnx_file.save(exported, target)
    return target
