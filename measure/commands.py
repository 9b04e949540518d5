"""The commands that measure: parse, call, print. A part of the command line, as `cli.py` is."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from posert.errors import PosertError
from posert.flags import (
    MEASURE,
    MODEL,
    AcceptLicence,
    AcceptUnpinned,
    Detector,
    Device,
    LongEdge,
    NetResolution,
    Params,
    ScaleGap,
    ScaleNumber,
    Threads,
    drawn_clip,
    model_file,
    named_models,
    parse_options,
    parse_params,
    parse_resolution,
    parse_size,
    progress,
    with_flags,
)

app = typer.Typer()
jobs = typer.Typer(no_args_is_help=True, help="Jobs over many sources: how far they are.")
app.add_typer(jobs, name="jobs", rich_help_panel=MEASURE)


@app.command("eval", rich_help_panel=MEASURE)
def evaluate(
    model: Annotated[str, typer.Argument(help=MODEL + " With --tracks also results with ids: .jsonl, .npz, MOT .txt.")],
    coco: Annotated[Path | None, typer.Option(help="COCO keypoint annotations, JSON.")] = None,
    tracks: Annotated[
        Path | None, typer.Option(help="Annotated tracks: MOTChallenge's gt.txt or PoseTrack's JSON.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of the pictures, or with --tracks a video.")] = None,
    fps: Annotated[float, typer.Option(min=0.001, help="Frames per second of a folder, with --tracks.")] = 25.0,
    boxes: Annotated[bool, typer.Option(help="Look at the annotated boxes instead of finding people.")] = False,
    detector: Detector = None,
    flip: Annotated[bool, typer.Option("--flip", help="Average with the mirrored picture (top-down models).")] = False,
    device: Device = "auto",
    threads: Threads = 0,
    long_edge: LongEdge = 0,
    net_resolution: NetResolution = None,
    scale_number: ScaleNumber = 1,
    scale_gap: ScaleGap = 0.25,
    params: Params = None,
    accept_licence: AcceptLicence = False,
    accept_unpinned: AcceptUnpinned = False,
) -> None:
    """Measure OKS average precision on COCO keypoints, or how well ids stay with people: HOTA, IDF1, MOTA."""
    from posert.measure import tracks as following
    from posert.measure.evaluate import evaluate as measure
    from posert.measure.truths import read_truth
    from posert.runtime.options import ModelOptions
    from posert.runtime.session import open_model

    if (coco is None) == (tracks is None):
        raise PosertError("there is nothing to compare with, or two things", "give one of --coco and --tracks")
    of_model, of_people = parse_options(params, **({} if tracks is None else {"track": True}))
    if tracks is not None and Path(model).suffix in following.RESULTS:
        if params:
            raise PosertError("--set changes nothing in results", "leave it away, or name a model")
        print(following.score([(read_truth(tracks), following.read_tracked(Path(model)))]))
        return
    if images is None:
        raise PosertError("the model has nothing to look at", "name the pictures with --images")
    found = partial(model_file, accept_licence=accept_licence, accept_unpinned=accept_unpinned)
    options = ModelOptions(
        device=device, threads=threads, long_edge=long_edge, net_resolution=parse_resolution(net_resolution),
        scale_number=scale_number, scale_gap=scale_gap,
        detector=detector and found(detector), params=of_model,
    )  # fmt: skip
    with open_model(found(model), options) as opened, progress(model, 0, "images") as on_image:
        if tracks is not None:
            truth = read_truth(tracks)
            people = following.track(opened, following.pictures(truth, images, fps), on_image, **of_people)
            print(following.score([(truth, people)]))
        elif coco is not None:
            print(measure(opened, coco, images, ground_truth_boxes=boxes, flip=flip, on_image=on_image))


@app.command(rich_help_panel=MEASURE)
def bench(
    models: Annotated[list[str], typer.Argument(help=f"{MODEL} NAME=FILE gives another name.")],
    source: Annotated[str | None, typer.Option(help="A video; posert's own drawn clip unless named.")] = None,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the drawn clip.")] = "640x360",
    frames: Annotated[int, typer.Option(min=1, help="So many frames, at most.")] = 240,
    rounds: Annotated[int, typer.Option(min=1, help="Medians of so many rounds, in which all take turns.")] = 3,
    devices: Annotated[str, typer.Option(help="Several, separated by commas, each as with --device.")] = "auto",
    threads: Threads = 0,
    detector: Detector = None,
    long_edge: LongEdge = 0,
    net_resolution: NetResolution = None,
    params: Params = None,
    against: Annotated[
        str | None, typer.Option(help="rtmlib: its loop on the same network files, in an environment of its own.")
    ] = None,
    rtmlib_python: Annotated[str | None, typer.Option(help="The interpreter of that environment.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Everything measured, as JSON, in this file.")
    ] = None,
    accept_licence: AcceptLicence = False,
    accept_unpinned: AcceptUnpinned = False,
) -> None:
    """Measure how fast models are here: each step, one frame at a time, the whole loop, and its share of what could be.

    Example: posert bench nano --json nano.json
    """
    import json
    from contextlib import nullcontext

    from posert.measure import bench_table
    from posert.measure.bench import Task
    from posert.measure.sides import RTMLIB_HINT, compare
    from posert.runtime.files.atomic import whole_text
    from posert.runtime.options import ModelOptions

    if against not in (None, "rtmlib"):
        raise PosertError(f"--against {against!r} is nothing that can be compared with", "write --against rtmlib")
    if against and rtmlib_python is None:
        raise PosertError("rtmlib has no interpreter", RTMLIB_HINT)
    found = partial(model_file, accept_licence=accept_licence, accept_unpinned=accept_unpinned)
    options = ModelOptions(
        threads=threads, long_edge=long_edge, net_resolution=parse_resolution(net_resolution),
        detector=detector and found(detector), params=parse_params(params),
    )  # fmt: skip
    named = [(name, found(file)) for name, file in named_models(models)]
    size_wh = parse_size(size)
    assert size_wh is not None
    with nullcontext(source) if source else drawn_clip(size_wh, frames) as video:
        tasks = [
            (name, Task(file, video, frames, replace(options, device=device)))
            for name, file in named
            for device in devices.split(",")
        ]
        with progress("measuring", rounds, "rounds") as on_round:
            machine = bench_table.this_machine()
            rows = compare(tasks, rounds, rtmlib_python if against else None, on_round)
    what = f"{source or f'the drawn clip at {size}'}, at most {frames} frames, medians of {rounds} rounds, ms a frame"
    print(with_flags(bench_table.as_text(rows, machine, what)))
    if json_file is not None:
        with whole_text(json_file) as file:
            json.dump(bench_table.as_record(rows, machine, source, frames), file, indent=1)
            file.write("\n")
    failed = [row.error for row in rows if row.error is not None]
    if len(failed) == len(rows):
        raise failed[0]
    if failed:
        raise typer.Exit(3)


@app.command(rich_help_panel=MEASURE)
def doctor() -> None:
    """Show versions, the compiled kernels, execution providers and what is missing for the GPU."""
    import platform
    from importlib.metadata import distributions

    from posert.postprocess.kernels.load import library_path
    from posert.runtime import opencv
    from posert.runtime.devices import PROVIDERS, RUNTIMES, cpu_cores, has_openvino, import_onnxruntime
    from posert.runtime.devices import missing_libraries as missing

    optional = {*RUNTIMES[2:], "openvino", "tensorrt"}
    for package in ("posert", *RUNTIMES, "openvino", "tensorrt", "numpy", "opencv-python-headless", "onnx"):
        found = next(iter(distributions(name=package)), None)
        if found or package not in optional:
            print(f"{package:24} {found.version if found else 'not installed'}")
    if problem := opencv.broken():
        print(f"{'opencv':24} {problem.what}; {problem.hint}")
    elif several := opencv.shared():
        print(f"{'opencv':24} {several}")
    print(f"{'python':24} {platform.python_version()} on {platform.platform()}, {cpu_cores()} cores")
    print(f"{'kernels':24} {library_path() or 'compiled as they are needed'}")
    providers = import_onnxruntime().get_available_providers()
    print(f"{'execution providers':24} {', '.join(providers)}")
    if "CUDAExecutionProvider" in providers:
        print(f"{'CUDA libraries':24} {', '.join(missing('cuda')) or 'nothing'} missing")
    for device, provider in PROVIDERS.items():
        if provider.name in providers or (device == "openvino" and has_openvino()):
            print(f"{'nano on ' + device:24} {_trial(device)}")


def _trial(device: str) -> str:
    """How much of nano a device holds, or why nothing."""
    from posert.runtime.devices import cpu_cores
    from posert.runtime.networks.held import held
    from posert.runtime.session import open_model

    try:
        with open_model("nano", device=device) as model:
            stage = model.spec.stages[0]
            return "; ".join(map(str, held(model.files[stage.name], stage, device, cpu_cores())))
    except PosertError as error:
        return with_flags(f"{error.what} ({error.hint})")


@app.command(rich_help_panel=MEASURE)
def plan(
    model: Annotated[str, typer.Argument(help=MODEL)],
    sources: Annotated[list[str], typer.Argument(help="As of `posert infer`: a folder, a pattern, @list.parquet.")],
    sample: Annotated[int, typer.Option(min=1, help="So many of the sources are tried.")] = 20,
    hours: Annotated[float | None, typer.Option(min=0.01, help="Until when: says how many machines it takes.")] = None,
    form: Annotated[str, typer.Option("--format", help="As of `posert infer`.")] = "jsonl",
    partition: Annotated[str | None, typer.Option(help="As of `posert infer`, with --format parquet.")] = None,
    stride: Annotated[int, typer.Option(min=1, help="Every n-th frame.")] = 1,
    track: Annotated[bool, typer.Option("--track", help="Ids that stay with the people.")] = False,
    smooth: Annotated[bool, typer.Option("--smooth", help="Steady keypoints; tracks.")] = False,
    features: Annotated[bool, typer.Option("--features", help="Also features; tracks.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 = by measurement.")] = 0,
    device: Device = "auto",
    threads: Threads = 0,
    detector: Detector = None,
    long_edge: LongEdge = 0,
    net_resolution: NetResolution = None,
    params: Params = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
    accept_licence: AcceptLicence = False,
    accept_unpinned: AcceptUnpinned = False,
) -> None:
    """Try some of the sources, and say what all will cost: hours, machines, bytes, memory, and how sure that is.

    Example: posert plan nano @clips.parquet --sample 20 --hours 8
    """
    import json
    import tempfile

    from posert.measure.cost import cost_of
    from posert.measure.job_text import cost_text
    from posert.runtime.jobs.planning import plan as planned
    from posert.runtime.jobs.recipe import Recipe, Selection, Settings
    from posert.runtime.options import ModelOptions

    of_model, of_people = parse_options(params, smooth=smooth, track=track or smooth or features, features=features)
    found = partial(model_file, accept_licence=accept_licence, accept_unpinned=accept_unpinned)
    with tempfile.TemporaryDirectory(prefix="posert-") as folder:
        todo = planned(sources, Path(folder), None, form, dataset=partition is not None)
        options = ModelOptions(
            device=device, threads=threads, long_edge=long_edge, net_resolution=parse_resolution(net_resolution),
            detector=detector and found(detector), params=of_model,
        )  # fmt: skip
        settings = Settings(
            form=form, track=track, smooth=smooth, features=features, selection=Selection(stride=stride), **of_people
        )
        cost = cost_of(Recipe(found(model), settings, options), todo, sample, workers, progress, Path(folder))
    print(json.dumps(cost.record()) if as_json else cost_text(cost, hours))


@jobs.command()
def status(
    output: Annotated[str, typer.Argument(help="The folder or address of the results, as of `posert infer -o`.")],
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """Show how far a job is, while it runs or afterwards: progress, rate, time left, failures by kind.

    Example: posert jobs status features
    """
    import json

    from posert.measure.job_text import as_text
    from posert.runtime.jobs.delivery import looked_at
    from posert.runtime.jobs.status import status_of
    from posert.runtime.store.address import is_stored

    with looked_at(output) as folder:
        found = status_of(folder)
    found = replace(found, running=None) if is_stored(output) else found
    print(json.dumps(found.record()) if as_json else as_text(found))
