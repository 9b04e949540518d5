"""The flags of the command line: what their texts mean, and which flag stands for a name in the library's errors.

A part of the command line, with the progress bar that its commands share. Errors name parameters in backquotes; nothing
but this table knows their flags.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posert.errors import PosertError
from posert.typed import Misfit, read

if TYPE_CHECKING:
    from posert.runtime.choose import PeopleOptions
    from posert.runtime.files.drawing import DrawOptions

PEOPLE, LOOK, MODELS, EMBED, MEASURE = "people", "look", "models", "embed", "measure"
"""The panels of `posert --help`."""
SOURCES, WHOSE, NETWORK, TOPDOWN = "what is read", "whose pose", "the network", "people's crops"
AFTER, DRAW, OUTPUT, RUN = "ids, smoothing, features", "drawing", "results", "many sources"
"""The panels of `posert infer --help`, and of what other commands share with it."""
MODEL = "An .onnx file, or a name of `posert models list`: nano, movenet-thunder, ..."
AcceptLicence = Annotated[
    bool,
    typer.Option(
        "--accept-licence",
        rich_help_panel=NETWORK,
        help="Take weights by name whose licence is not permissive, or not known.",
    ),
]
AcceptUnpinned = Annotated[
    bool,
    typer.Option("--accept-unpinned", rich_help_panel=NETWORK, help="Take a file whose whole hash is not known."),
]
Start = Annotated[float, typer.Option(min=0, rich_help_panel=SOURCES, help="Skip what comes before, seconds.")]
Stop = Annotated[float | None, typer.Option(min=0, rich_help_panel=SOURCES, help="Stop there, seconds.")]
First = Annotated[int, typer.Option(min=0, rich_help_panel=SOURCES, help="Number of the first frame, from 0.")]
Last = Annotated[int | None, typer.Option(min=0, rich_help_panel=SOURCES, help="Number of the last frame.")]
HwAccel = Annotated[
    str | None,
    typer.Option("--hwaccel", rich_help_panel=SOURCES, help="Hardware decodes videos: any, d3d11, qsv or vaapi."),
]
KeyFrames = Annotated[bool, typer.Option("--key-frames", rich_help_panel=SOURCES, help="Of videos key frames alone.")]
Stride = Annotated[int, typer.Option(min=1, rich_help_panel=SOURCES, help="Every n-th frame.")]
Rotate = Annotated[
    int,
    typer.Option(rich_help_panel=SOURCES, help="Turn every picture clockwise: 90, 180 or 270; places are px of that."),
]
Mirror = Annotated[bool, typer.Option("--mirror", rich_help_panel=SOURCES, help="Mirror pictures: left is right.")]
MaxPeople = Annotated[
    int, typer.Option(min=0, rich_help_panel=WHOSE, help="At most so many, the best by score; 0 = all.")
]
Person = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=WHOSE, help="One: largest, central, best, first or an id; --track stays with that person."
    ),
]
MinScore = Annotated[float, typer.Option(rich_help_panel=WHOSE, help="Least score of a person.")]
MinBoxArea = Annotated[
    float, typer.Option(min=0, rich_help_panel=WHOSE, help="Least area of a box, px; below 1 a share of the frame.")
]
Roi = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=WHOSE,
        help="Where the box's middle is: X,Y,WIDTH,HEIGHT or a polygon X,Y,X,Y,...; px, or shares of the frame.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        rich_help_panel=NETWORK,
        help="auto, cpu, cuda[:N], tensorrt[:N], openvino[:CPU|GPU|NPU], coreml, directml[:N], migraphx[:N] or xnnpack "
        "(docs/devices.md); one that is not there is an error.",
    ),
]
Detector = Annotated[str | None, typer.Option(help="File or name of what finds boxes, for a one-person model.")]
Threads = Annotated[int, typer.Option(min=0, rich_help_panel=NETWORK, help="CPU threads; 0 = all cores.")]
Latency = Annotated[
    bool,
    typer.Option(
        "--latency",
        rich_help_panel=NETWORK,
        help="One frame at a time, each as soon as can be, not as many a second; threads by measurement.",
    ),
]
LongEdge = Annotated[
    int,
    typer.Option(min=0, rich_help_panel=NETWORK, help="Longer side of the network input, px; 0 = the model's own."),
]
NetResolution = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=NETWORK,
        help="Network input, px: WIDTHxHEIGHT, or -1 for a side that the picture says.",
    ),
]
ScaleNumber = Annotated[
    int, typer.Option(min=1, rich_help_panel=NETWORK, help="Average the maps over so many input sizes (CMU OpenPose).")
]
ScaleGap = Annotated[
    float,
    typer.Option(rich_help_panel=NETWORK, help="Each of these sizes is so much of the input's smaller than the last."),
]
Params = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        rich_help_panel=NETWORK,
        help="NAME=VALUE as `posert info` lists them: detector.min_score=.4; repeat it.",
    ),
]
Hands = Annotated[
    bool, typer.Option("--hands", rich_help_panel=NETWORK, help="Also their hands, by the network mediapipe-hand.")
]
Face = Annotated[
    bool, typer.Option("--face", rich_help_panel=NETWORK, help="Also their faces, by the network openpose-face.")
]
PartFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--parts", rich_help_panel=NETWORK, help="File or name of another network for hands or faces; repeat it."
    ),
]
Output = Annotated[
    str | None,
    typer.Option("-o", "--output", rich_help_panel=OUTPUT, help="File, folder for several sources, or s3://..."),
]
Overlay = Annotated[
    str | None,
    typer.Option(rich_help_panel=DRAW, help="Draw the people: .mp4, .jpg, drawn/%06d.jpg; a folder for several."),
]
Draw = Annotated[
    list[str] | None,
    typer.Option(
        "--draw",
        rich_help_panel=DRAW,
        help="boxes, labels, names, heatmap:PART, or NAME=VALUE: threshold=.3, palette=openpose, background=black, "
        "trails=2 and more (docs/drawing.md); repeat it.",
    ),
]
_SAME_NAME = (
    "accept_licence", "accept_unpinned", "anybody", "batch", "calibrate", "coco", "cpu", "debug", "detect_every",
    "device", "embed", "features", "first", "flip", "fps", "host", "hwaccel", "images", "keep", "key_frames",
    "keypoint_scale", "last", "latency", "live", "long_edge", "max_people", "mirror", "net_resolution", "on",
    "overlay", "overwrite", "partition", "port", "precision", "resume", "rotate", "sample", "scale_gap",
    "scale_number", "shard", "smooth", "stride", "track", "verify", "video", "workers",
)  # fmt: skip
FLAGS = {name: "--" + name.replace("_", "-") for name in _SAME_NAME} | {
    "boxes": "--boxes FILE",
    "detector": "--detector FILE",
    "form": "--format",
    "guess": "--guess",
    "ids": "--id",
    "from_file": "--from FILE",
    "name": "--as NAME",
    "output": "-o",
    "params": "--set",
    "prefix": "--prefix",
    "parts": "--parts FILE (--hands, --face)",
    "photo": "--photo FILE",
    "recipe": "--recipe FILE",
    "rtmlib_python": "--rtmlib-python",
    "source": "--source VIDEO",
    "size_wh": "--size WIDTHxHEIGHT",
    "stages": "--stage",
    "start_s": "--start",
    "stop_s": "--stop",
    "maps": "--draw heatmap:NAME",
    "draw": "--draw",
    "trails": "--draw trails",
    "token_file": "--token-file FILE",
}
"""Parameter -> how it is written on the command line."""


def with_flags(text: str) -> str:
    """The text of an error with flags for the names in backquotes.

    >>> with_flags("leave `detect_every` away, see `frames`")
    'leave --detect-every away, see frames'
    """
    return visible(re.sub(r"`([^`]+)`", lambda found: FLAGS.get(found[1], found[1]), text))


def visible(text: str) -> str:
    """The text for a terminal: what does not print, an escape sequence of a model file or a name, is written out.

    >>> visible("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Width and height of `WIDTHxHEIGHT`; None stays None.

    >>> parse_size("640x480")
    (640, 480)
    """
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not match:
        raise PosertError(f"--size {text!r} is no size", "write it as WIDTHxHEIGHT, for example 640x480")
    return int(match.group(1)), int(match.group(2))


def parse_resolution(text: str | None) -> tuple[int, int] | None:
    """Width and height of `WIDTHxHEIGHT`, one of which may be -1; None stays None.

    >>> parse_resolution("-1x736")
    (-1, 736)
    """
    match = re.fullmatch(r"(-1|\d+)x(-1|\d+)", text or "")
    if text is not None and not match:
        raise PosertError(f"--net-resolution {text!r} is no size", "write it as WIDTHxHEIGHT, for example -1x368")
    return (int(match[1]), int(match[2])) if match else None


def whose(
    max_people: int, person: str | None, min_score: float, min_box_area: float, roi: str | None
) -> "PeopleOptions":
    """Whose poses the flags ask for."""
    from posert.runtime.choose import PeopleOptions

    return PeopleOptions(
        max_people=max_people, person=parse_person(person), min_score=min_score, min_box_area=min_box_area,
        roi=parse_roi(roi),
    )  # fmt: skip


def parse_person(text: str | None) -> str | int | None:
    """A word, or an id as a number; None stays None.

    >>> parse_person("largest"), parse_person("3")
    ('largest', 3)
    """
    return int(text) if text is not None and text.isdecimal() else text


def parse_roi(text: str | None) -> tuple[float, ...]:
    """The numbers of `X,Y,WIDTH,HEIGHT` or `X,Y,X,Y,X,Y`; none of None.

    >>> parse_roi("0,.5,1,.5")
    (0.0, 0.5, 1.0, 0.5)
    """
    try:
        return () if text is None else tuple(map(float, text.split(",")))
    except ValueError:
        raise PosertError(f"--roi {text!r} is no region", "write it as X,Y,WIDTH,HEIGHT or X,Y,X,Y,X,Y") from None


def parse_params(texts: Sequence[str] | None) -> dict[str, Any]:
    """Name -> value of `NAME=VALUE` texts, of `GROUP.NAME=VALUE` too; a value that is no JSON is text.

    >>> parse_params(["min_parts=2", "detector.max-iou=.5", "maximize_positives=true"])
    {'min_parts': 2, 'detector.max_iou': 0.5, 'maximize_positives': True}
    """
    params = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise PosertError(f"--set {text!r} sets nothing", "write it as NAME=VALUE; posert info MODEL shows them")
        try:
            given = json.loads(re.sub(r"^\s*(-?)\.", r"\g<1>0.", value))
        except (ValueError, RecursionError):
            given = value.strip()
        group, dot, own = name.strip().rpartition(".")
        params[group + dot + own.replace("-", "_")] = given
    return params


def parse_options(texts: Sequence[str] | None, **used: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """`parse_params` without what is not the model's, and that: fields of `Settings`, `tracking` and so on, and `ray`.

    Args:
        used: for each of `GROUPS` and `ray` that the command has, whether it is asked for.
    """
    from posert.runtime.after.options import GROUPS
    from posert.runtime.parameters import taken_from

    given, groups = parse_params(texts), dict(GROUPS)
    if "ray" in used:
        from posert.runtime.jobs.on_ray import RayOptions

        groups["ray"] = "ray", RayOptions
    for name in given:
        if not used.get(group := name.rpartition(".")[0], True):
            what = "`on` ray" if group == "ray" else f"`{group}`"
            raise PosertError(f"{name} changes nothing: {what} is not asked for", f"add {what}")
    params, records = taken_from(given, **{group: groups[group][1] for group in used})
    return params, {groups[group][0]: record for group, record in records.items()}


def parse_draw(texts: Sequence[str] | None) -> "DrawOptions":
    """The options of `NAME=VALUE` texts; `NAME` alone means true, `KIND:NAME` a map.

    >>> parse_draw(["boxes", "threshold=.3"]) == parse_draw(["threshold=0.3", "boxes=true"])
    True
    """
    from posert.runtime.files.drawing import DrawOptions

    given: dict[str, Any] = {}
    for text in texts or ():
        name, _, value = text.partition("=")
        if ":" in name:
            given["maps"] = [*given.get("maps", []), text]
            continue
        given |= parse_params([f"{name or '?'}={value or 'true'}"])
    try:
        options: DrawOptions = read(DrawOptions, given, "--draw")
    except Misfit as error:
        hint = "posert infer --help and docs/drawing.md say what can be drawn"
        raise PosertError(error.what.replace("--draw.", "--draw ", 1), hint) from None
    return options


@contextmanager
def progress(title: str, total: int, unit: str, quiet: bool = False) -> Iterator[Callable[..., None]]:
    """A bar on standard error if that is a terminal; yields what to call with the number done and, if known, the total.

    Args:
        total: 0 = not known yet.
        unit: what is counted, `frames`; `bytes` are shown as of a download.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich import progress as rich
    from rich.console import Console

    if unit == "bytes":
        numbers: list[rich.ProgressColumn] = [rich.DownloadColumn()]
    else:
        rate = rich.TextColumn("{task.fields[rate]:.1f} " + f"{unit}/s")
        numbers = [rich.MofNCompleteColumn(), rate, rich.TimeRemainingColumn()]
    columns = (rich.TextColumn("{task.description}"), rich.BarColumn(), *numbers)
    with rich.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total or None, rate=0.0)

        def show(done: int, whole: int = 0) -> None:
            bar.update(task, completed=done, total=whole or None, rate=done / (bar.tasks[0].elapsed or 1e-9))

        yield show


def model_file(model: str, accept_licence: bool, accept_unpinned: bool, quiet: bool = False) -> str:
    """The path that the runtime opens, of a path or a name; what is fetched and made for it is said."""
    if Path(model).is_file():
        return model
    from posert.export.named import Terms, model_file

    with progress(model, 0, "bytes", quiet) as show:
        return str(model_file(model, Terms(accept_licence, accept_unpinned, show, _unsaid if quiet else _say)))


@contextmanager
def drawn_clip(size_wh: tuple[int, int], count: int) -> Iterator[str]:
    """So many frames of posert's own clip as a video of that size, which goes away with the block."""
    import tempfile

    from posert.export.nano.clip import write_as

    with tempfile.TemporaryDirectory(prefix="posert-") as folder:
        yield str(write_as(Path(folder) / "clip.mp4", size_wh, count))


def part_files(hands: bool, face: bool, parts: Iterable[str] | None, found: Callable[[str], str]) -> tuple[str, ...]:
    """The paths of the networks for parts of people that were asked for, by `found` of each file or name."""
    from posert.export.weights import USUAL_FACE, USUAL_HANDS

    usual = [name for name, asked in ((USUAL_HANDS, hands), (USUAL_FACE, face)) if asked]
    return tuple(map(found, [*usual, *(parts or ())]))


def named_models(models: Iterable[str]) -> list[tuple[str, str]]:
    """Name, and file or name of `models.lock`, of each: NAME=FILE, or the file's name without `.onnx`."""
    pairs = []
    for model in models:
        name, equals, file = model.partition("=")
        own = bool(name and equals) and not Path(model).exists()
        pairs.append((name, file) if own else (Path(model).name.removesuffix(".onnx"), model))
    return pairs


def _say(line: str) -> None:
    print(with_flags(line), file=sys.stderr)


def _unsaid(line: str) -> None:
    pass
