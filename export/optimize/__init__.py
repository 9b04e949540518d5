"""A model in fewer bits, written only if it finds the same people: the order of the steps.

`networks` knows how bits become fewer, `search` which layers stay float, `candidates` how they are tried, `guard` what
the same people are, `pictures` what all of them look at, `written` the files.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from posert.errors import PosertError, optional
from posert.export.optimize.guard import Guard
from posert.export.optimize.pictures import Pictures, chosen_frames, tensors_of
from posert.export.optimize.report import Optimized
from posert.runtime.session import Model, find_model, open_model

if TYPE_CHECKING:
    from posert.export.optimize.candidates import Part

PRECISIONS = ("auto", "int8", "fp16")
_MORE = (
    "calibrate on more pictures, of what the model will see; leave a network out with `stages`; or say that less is "
    "enough with `keep`"
)


def optimize(
    model: str | Path,
    output: str | Path,
    *,
    calibrate: str | Path,
    precision: str = "auto",
    keep: float = 0.98,
    coco: Path | None = None,
    images: Path | None = None,
    stages: Sequence[str] = (),
    threads: int = 0,
    report: Callable[[str], None] = lambda line: None,
) -> Optimized:
    """Writes the model with networks of fewer bits, if it finds the people that it found before.

    int8 is static quantisation by ONNX Runtime's own tools; the layers that hurt stay float. Half of the pictures of
    `calibrate` say how large the values get, the other half whether the people are the same.

    Args:
        model: an .onnx file, or `nano`; a detector that it names is made smaller too, and written beside the result.
        output: an .onnx file, or a folder; never a file that the model is made of.
        calibrate: a video, a picture's folder or a pattern: what the model will see, with people in it.
        precision: `int8`; `fp16`, for accelerators, slower on most CPUs; `auto`, of each network what is fastest here.
        keep: the share of people, 0..1, that must be found again at an object-keypoint similarity of .9 (an overlap of
            .9 for boxes); with `coco` the average precision must not fall by more than a point instead.
        coco, images: COCO keypoint annotations of other pictures, and the folder of these; every other one of them is
            for the search.
        stages: only the networks of these stages; empty = all.
        threads: CPU threads for all measurements; 0 = all cores.
        report: gets one line per step.

    Returns:
        What was done, in figures.

    Raises:
        PosertError: a wrong argument, nobody in the pictures, people who are not found again (with the figures), or
            nothing that is faster. Nothing is written then.
    """
    if precision not in PRECISIONS:
        raise PosertError(f"there is no precision {precision!r}", f"take one of {', '.join(PRECISIONS)}")
    if not 0 < keep <= 1:
        raise PosertError(f"`keep` {keep:g} is no share", "give a number above 0, at most 1, for example 0.98")
    if (coco is None) != (images is None):
        raise PosertError("annotations and their pictures belong together", "give both `coco` and `images`, or neither")
    if images is not None and Path(calibrate).resolve() == images.resolve():
        raise PosertError(f"{images} says how good the result is", "calibrate on other pictures")
    optional("onnx", "this needs the package onnx", "convert")
    from posert.export.optimize.candidates import Candidates
    from posert.export.optimize.written import write

    source = find_model(model)
    target = _target(Path(output), source, precision)
    pictures = chosen_frames(calibrate)
    with tempfile.TemporaryDirectory() as folder, open_model(source, device="cpu", threads=threads) as opened:
        if target.exists() and any(target.samefile(file) for file in opened.files.values()):
            raise PosertError(f"{target} is what the result is made of", "name another file or folder with `output`")
        parts = _parts(opened, pictures, stages)
        guard = Guard(opened, pictures, coco, images, keep, Path(folder))
        report(f"{pictures}; {guard.people} people in those that judge")
        candidates = Candidates(opened, guard, Path(folder), threads, report)
        made = {part.stage.name: found for part in parts if (found := candidates.best(part, precision)) is not None}
        if not made:
            raise PosertError(
                f"nothing of {opened.spec.model} is faster here in fewer bits: {'; '.join(candidates.refused)}",
                "keep the model as it is, or say `precision` int8 if it must be smaller",
            )
        with candidates.opened({name: found.file for name, found in made.items()}) as other:
            verdict = guard.judge(other)
        if not verdict.good:
            raise PosertError(f"{target} is not written: {verdict}", _MORE)
        return write(opened, made, verdict, target, Path(calibrate).name)


def _target(output: Path, source: Path, precision: str) -> Path:
    """The file `output`, or one in the folder `output` that is called after the model."""
    word = "optimized" if precision == "auto" else precision
    return output if output.suffix == ".onnx" else output / f"{source.stem}-{word}.onnx"


def _parts(model: Model, pictures: Pictures, stages: Sequence[str]) -> "list[Part]":
    """The networks of the named stages, or all, and what they are fed.

    Raises:
        PosertError: there is no such stage, or its network was fed nothing.
    """
    from posert.export.optimize.candidates import Part

    known = {stage.name: stage for stage in model.spec.stages}
    if unknown := sorted({*stages} - known.keys()):
        raise PosertError(f"{model.spec.model} has no stage {', '.join(unknown)}", f"it has {', '.join(known)}")
    fed = tensors_of(model, pictures.calibrating)
    chosen = [known[name] for name in known if not stages or name in stages]
    if idle := [stage.name for stage in chosen if not fed[stage.name]]:
        raise PosertError(
            f"nobody is found in {pictures.source} for {', '.join(idle)} to look at", "calibrate on pictures of people"
        )
    return [Part(stage, model.files[stage.name], fed[stage.name]) for stage in chosen]
