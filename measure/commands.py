"""The commands that measure: parse, call, print. A part of the command line, as `cli.py` is."""

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
    Device,
    LongEdge,
    NetResolution,
    Params,
    ScaleGap,
    ScaleNumber,
    Threads,
    model_file,
    parse_options,
    parse_resolution,
    progress,
)

app = typer.Typer()


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
    detector: Annotated[
        str | None, typer.Option(help="File or name of what finds boxes, for a one-person model.")
    ] = None,
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
def doctor() -> None:
    """Show versions, the compiled kernels, execution providers and what is missing for the GPU."""
    import platform
    from importlib.metadata import distributions

    from posert.postprocess.kernels.load import library_path
    from posert.runtime.devices import cpu_cores, import_onnxruntime, missing_cuda_libraries

    for package in ("posert", "onnxruntime", "onnxruntime-gpu", "numpy", "opencv-python-headless", "onnx"):
        found = next(iter(distributions(name=package)), None)
        print(f"{package:24} {found.version if found else 'not installed'}")
    print(f"{'python':24} {platform.python_version()} on {platform.platform()}, {cpu_cores()} cores")
    print(f"{'kernels':24} {library_path() or 'compiled as they are needed'}")
    providers = import_onnxruntime().get_available_providers()
    print(f"{'execution providers':24} {', '.join(providers)}")
    if "CUDAExecutionProvider" in providers:
        print(f"{'CUDA libraries':24} {', '.join(missing_cuda_libraries()) or 'nothing'} missing")
