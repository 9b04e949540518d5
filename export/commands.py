"""The commands about model files: convert, tag, show, fuse, bundle, fetch, check. A part of the command line.

They may print. Heavy imports stay inside the commands.
"""

from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from posert.errors import PosertError
from posert.flags import (
    EMBED,
    MODEL,
    MODELS,
    AcceptLicence,
    AcceptUnpinned,
    Face,
    Hands,
    Params,
    PartFiles,
    Threads,
    model_file,
    parse_params,
    part_files,
    progress,
    visible,
)  # fmt: skip

app = typer.Typer()
models = typer.Typer(no_args_is_help=True, help="Official weights: what there is, fetch it, check it.")
app.add_typer(models, name="models", rich_help_panel=MODELS)


@app.command(rich_help_panel=MODELS)
def export(
    name: Annotated[str, typer.Argument(help="A name of `posert models list`.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder, or a file ending in .onnx.")] = Path(),
    from_file: Annotated[Path | None, typer.Option("--from", help="The official file, already at hand.")] = None,
    dequantize: Annotated[bool, typer.Option("--dequantize", help="The float32 network of an int8 file.")] = False,
    detector: Annotated[
        str | None, typer.Option(help="Detector written beside a top-down model, by name; none = none.")
    ] = None,
    photo: Annotated[Path | None, typer.Option(help="Compare on these pictures instead of drawn ones.")] = None,
    accept_unpinned: AcceptUnpinned = False,
    offline: Annotated[bool, typer.Option("--offline", help="Fetch nothing.")] = False,
) -> None:
    """Convert official weights to ONNX and compare the result with the original; if it differs by more than its kind
    may, nothing is written.

    Example: posert export movenet-lightning-int8 --dequantize
    """
    from posert.export.convert import convert

    with progress(name, 0, "bytes") as show:
        convert(
            name, output, from_file=from_file, options=["dequantize"] if dequantize else [],
            detector=detector, photo=photo,
            accept_unpinned=accept_unpinned, offline=offline, progress=show, report=print,
        )  # fmt: skip


@app.command(rich_help_panel=MODELS)
def tag(
    file: Annotated[Path, typer.Argument(help="A ready-made .onnx file.")],
    name: Annotated[str, typer.Option("--as", help="A name of `posert models list` whose route is onnx.")] = "",
    recipe: Annotated[Path | None, typer.Option(help="What a file of your own means, in TOML.")] = None,
    guess: Annotated[bool, typer.Option("--guess", help="Print a recipe to fill in; write nothing.")] = False,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder, or a file ending in .onnx.")] = Path(),
    detector: Annotated[Path | None, typer.Option(help="A tagged detector beside it, for a top-down model.")] = None,
) -> None:
    """Write a ready-made ONNX with its metadata as a new file; it stays as it is.

    Example: posert tag mine.onnx --guess > recipe.toml, then posert tag mine.onnx --recipe recipe.toml
    """
    from posert.export import convert

    if guess:
        print(convert.guess(file), end="")
    else:
        print(convert.tag(file, name, output, recipe=recipe, detector=detector, report=print))


@app.command(rich_help_panel=MODELS)
def info(
    model: Annotated[str, typer.Argument(help=MODEL)],
    device: Annotated[
        str | None, typer.Option(help="Also what runs it there: shares of the nodes and of the time; auto, cuda, ...")
    ] = None,
    accept_licence: AcceptLicence = False,
    accept_unpinned: AcceptUnpinned = False,
) -> None:
    """Show what a model file says about itself, and its parameters."""
    from posert.runtime.after.options import GROUPS
    from posert.runtime.devices import cpu_cores
    from posert.runtime.networks.held import held
    from posert.runtime.parameters import Group, groups_of, listed
    from posert.runtime.session import open_model

    file = model_file(model, accept_licence, accept_unpinned)
    with open_model(file, device="cpu", threads=1) as opened:
        spec = opened.spec
        lines = [
            f"model     {spec.model} ({spec.system})",
            f"licence   {spec.licence or 'not stated'}",
            f"source    {spec.source or 'not stated'}",
            f"made by   {spec.made_by or 'not stated'}",
            f"keypoints {len(spec.skeleton.names)}: {', '.join(spec.skeleton.names)}",
        ]
        for stage in spec.stages:
            put = stage.input
            lines += [
                f"stage     {stage.name}: looks at {stage.region}, decoder {stage.decoder}",
                f"  input   {put.name} {put.dtype} {put.layout} {put.color}, {put.size_wh} px (w, h), fit {put.fit}",
            ]
            if len(stage.scales) > 1:
                lines.append(f"  scales  {', '.join(map(str, stage.scales))}")
            lines += [
                f"  outputs {', '.join(f'{role} = {name}' for role, name in stage.outputs.items())}",
            ]
        files = opened.files
        groups = groups_of(spec) | {name: Group(kind) for name, (_, kind) in GROUPS.items()}
        lines.append("set by --set NAME=VALUE:")
        for name, value, default in listed(groups):
            lines.append(f"  {name} = {value}" + (f" (default {default})" if value != default else ""))
    if device is not None:
        with open_model(file, device=device) as opened:
            lines.append(f"runs on   {opened.device}")
        for stage in spec.stages:
            own = held(files[stage.name], stage, opened.devices[stage.name], cpu_cores())
            lines += [f"  {stage.name} on {opened.devices[stage.name]}, {one}" for one in own]
    for line in lines:
        print(visible(line.replace("\n", " ")))


@app.command("optimize", rich_help_panel=MODELS)
def write_optimized(
    model: Annotated[str, typer.Argument(help=MODEL)],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder, or a file ending in .onnx.")],
    calibrate: Annotated[str, typer.Option(help="Video, folder or pattern: people as the model will see them.")],
    precision: Annotated[str, typer.Option(help="auto = what is fastest here and agrees, int8, fp16.")] = "auto",
    keep: Annotated[float, typer.Option(help="Share of the people who must be found again, at OKS .9.")] = 0.98,
    coco: Annotated[Path | None, typer.Option(help="COCO annotations; AP may fall by a point instead.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of the pictures that --coco names.")] = None,
    stages: Annotated[
        list[str] | None, typer.Option("--stage", help="Only this network, pose or detector; repeat it.")
    ] = None,
    threads: Threads = 0,
    accept_licence: AcceptLicence = False,
    accept_unpinned: AcceptUnpinned = False,
) -> None:
    """Write a model in fewer bits if it finds the same people; say how much smaller and faster it is.

    Example: posert optimize movenet-thunder -o thunder-int8.onnx --precision int8 --calibrate walk.mp4
    """
    from posert.export.optimize import optimize

    file = model_file(model, accept_licence, accept_unpinned)
    done = optimize(
        file, output, calibrate=calibrate, precision=precision, keep=keep, coco=coco, images=images,
        stages=stages or (), threads=threads, report=print,
    )  # fmt: skip
    print(done)


@app.command(rich_help_panel=EMBED)
def fuse(
    model: Annotated[str, typer.Argument(help="A network of one stage: " + MODEL)],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .onnx file to write.")],
    params: Params = None,
    accept_licence: AcceptLicence = False,
    accept_unpinned: AcceptUnpinned = False,
) -> None:
    """Write a network that gives people, for the ONNX Runtime of any language."""
    from posert.export.embed.fuse import fuse as write

    print(write(model_file(model, accept_licence, accept_unpinned), output, parse_params(params)))


@app.command("bundle", rich_help_panel=EMBED)
def write_bundle(
    model: Annotated[str, typer.Argument(help=MODEL)],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write.")],
    target: Annotated[
        str, typer.Option(help="CPU-SYSTEM: x86_64-linux, arm64-macos, wasm32-wasi, ...")
    ] = "x86_64-linux",
    cpu: Annotated[str, typer.Option(help="The least processor, LLVM's name; empty = the target's usual.")] = "",
    prefix: Annotated[
        str, typer.Option(help="What library and functions are called: for several in a program.")
    ] = "posert",
    params: Params = None,
    hands: Hands = False,
    face: Face = False,
    parts: PartFiles = None,
    accept_licence: AcceptLicence = False,
    accept_unpinned: AcceptUnpinned = False,
) -> None:
    """Write a folder from which a C compiler builds the model's library: `make` there."""
    from posert.export.embed.bundle import WASI, bundle
    from posert.postprocess.kernels.build import TARGETS

    found = partial(model_file, accept_licence=accept_licence, accept_unpinned=accept_unpinned)
    files, chosen = part_files(hands, face, parts, found), parse_params(params)
    written = bundle(found(model), output, target=target, cpu=cpu, prefix=prefix, params=chosen, parts=files)
    if target == WASI:
        print(f"{output}: {len(written)} files for {target}; README there says what a host calls")
        return
    print(f"{output}: {len(written)} files for {target} ({cpu or TARGETS[target].cpu}); build them with: make")


@app.command(rich_help_panel=EMBED)
def web(
    models: Annotated[list[str], typer.Argument(help=MODEL + "; the page begins with the first.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write.")],
    params: Params = None,
    hands: Hands = False,
    face: Face = False,
    parts: PartFiles = None,
    offline: Annotated[bool, typer.Option("--offline", help="Fetch nothing.")] = False,
    accept_licence: AcceptLicence = False,
    accept_unpinned: AcceptUnpinned = False,
) -> None:
    """Write a static site that finds people in the browser: pictures, videos, the camera; nothing is sent anywhere.

    Example: posert web nano -o site, then python -m http.server -d site
    """
    from posert.export.web.site import RUNTIME, write_site

    found = partial(model_file, accept_licence=accept_licence, accept_unpinned=accept_unpinned)
    files, beside = list(map(found, models)), part_files(hands, face, parts, found)
    with progress(RUNTIME.name, 0, "bytes") as show:
        written = write_site(
            files, output, params=parse_params(params), parts=beside, offline=offline, progress=show
        )  # fmt: skip
    print(f"{output}: {len(written)} files; look at it with: python -m http.server -d {output}")


@app.command("verify", rich_help_panel=EMBED)
def verify_bundle(
    c: Annotated[Path, typer.Option("--c", help="A folder of `posert bundle`, after `make`.")],
    source: Annotated[str, typer.Option(help="What infer takes: a video, a picture, a folder.")],
    limit: Annotated[int, typer.Option(min=1, help="At most so many frames.")] = 300,
) -> None:
    """Run a C library and Python on the same frames; say how far apart their people are."""
    from posert import frames
    from posert.export.embed.library import compare

    count, people, largest_px = compare(c, islice(frames(source), limit))
    print(f"{count} frames, {people} people, largest difference {largest_px:g}")
    if largest_px > 0:
        raise PosertError("the C library's people are not Python's", "write the bundle again with this posert")


@models.command("list")
def models_list(
    as_json: Annotated[
        bool, typer.Option("--json", help="Everything that is known of each, one JSON document.")
    ] = False,
) -> None:
    """Every model: how large, whom it finds, its authors' AP, the licence, what the cache holds.

    AP is what the authors claim, each on data and with boxes of their own: no two of them compare.
    """
    from posert.export import listing

    print(listing.as_json() if as_json else listing.as_text())


@models.command()
def pull(
    names: Annotated[list[str], typer.Argument(help="Names of `posert models list`.")],
    accept_unpinned: AcceptUnpinned = False,
    offline: Annotated[bool, typer.Option("--offline", help="Fetch nothing but from a mirror folder.")] = False,
) -> None:
    """Fetch official weights into the cache (POSERT_HOME), from their address or from POSERT_MIRROR."""
    from posert.export import weights

    for name in names:
        with progress(name, 0, "bytes") as show:
            entry = weights.find(name)
            if entry.route == "embedded":
                raise PosertError(f"{name} comes with posert", "there is nothing to fetch")
            print(weights.pull(entry, accept_unpinned=accept_unpinned, offline=offline, progress=show))


@models.command()
def verify(names: Annotated[list[str] | None, typer.Argument(help="Names; all if none.")] = None) -> None:
    """Check what the cache holds against its pins: a sha256, git's SHA-1, an MD5 of the authors, or none."""
    from posert.export import weights

    damaged = []
    for entry in map(weights.find, names) if names else weights.entries().values():
        state = weights.status(entry)
        print(f"{entry.name:40} {state:12} {weights.pins(entry)}")
        if state == "damaged":
            damaged.append(entry.name)
    if damaged:
        raise PosertError(f"damaged: {', '.join(damaged)}", "posert models pull fetches them again")
