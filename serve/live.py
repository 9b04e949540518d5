"""The live view as a process: one model, its sources in a thread each, and the server with the page.

Owns how these live and end together.
"""

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from posert.errors import PosertError
from posert.runtime.after.options import TrackOptions
from posert.runtime.choose import PeopleOptions
from posert.runtime.files.drawing import DrawOptions
from posert.runtime.jobs.recipe import Recipe
from posert.runtime.media.orientation import UPRIGHT, Orientation
from posert.runtime.media.paced import watched
from posert.runtime.media.read import frame_rate
from posert.runtime.options import ModelOptions
from posert.runtime.session import Model, files_of
from posert.serve.camera import Camera
from posert.serve.limits import Limits
from posert.serve.recorder import Recorder
from posert.serve.run import Address, run
from posert.serve.service import Service
from posert.serve.watch import routes

_FIRST_S = 20.0


@dataclass(frozen=True, slots=True)
class View:
    """How sources are shown.

    Attributes:
        folder: for recordings; None = nothing is recorded. track: ids. loop: files begin anew.
        quality: of the JPEGs that viewers get, 0..100. tracking: how ids are given. people: who is shown.
        orientation: how pictures are turned. drawing: how people are drawn in recordings.
    """

    folder: Path | None = None
    track: bool = True
    loop: bool = False
    quality: int = 80
    tracking: TrackOptions = field(default_factory=TrackOptions)
    people: PeopleOptions = field(default_factory=PeopleOptions)
    orientation: Orientation = UPRIGHT
    drawing: DrawOptions = field(default_factory=DrawOptions)

    def __post_init__(self) -> None:
        if self.drawing.maps or (self.drawing.trails and not self.track):
            raise PosertError("a recording has no `maps`, and no `trails` without ids", "leave them away")


def live(
    model: str,
    sources: Sequence[str],
    options: ModelOptions,
    view: View,
    address: Address,
    report: Callable[[str], None],
) -> None:
    """Shows the sources until the process is told to end; what is recorded is finished then.

    Args:
        sources: cameras, streams, videos. report: gets the address, once it can be asked.

    Raises:
        PosertError: the model or the address cannot be opened, or no source can.
    """
    media = [watched(source) for source in sources]
    if (hangup := getattr(signal, "SIGHUP", None)) and signal.getsignal(hangup) != signal.SIG_IGN:
        signal.signal(hangup, lambda *_: signal.raise_signal(signal.SIGTERM))
    with ExitStack() as stack:
        opened = stack.enter_context(Recipe(model, options=options).open())
        service = Service({opened.spec.model: opened}, Limits())
        numbers = [""] if len(media) == 1 else [f"_{number}" for number in range(1, len(media) + 1)]
        names = [_name(source) for source in sources]
        inputs = [*map(Path, media), *files_of(model, options)]
        cameras = [
            stack.enter_context(_camera(opened, medium, name, number, view, inputs))
            for medium, name, number in zip(media, names, numbers, strict=True)
        ]
        _await(cameras)
        skeleton = {"names": opened.spec.skeleton.names, "edges": opened.spec.skeleton.edges}
        known = {"model": opened.spec.model, "skeleton": skeleton, "records": view.folder is not None}
        run(service, address, report, routes(cameras, names, known))


def _name(source: str) -> str:
    """For viewers; of an address without what lets somebody in.

    >>> _name("rtsp://user:secret@host/door?key=1"), _name("https://user:secret@host"), _name("a/walk.mp4"), _name("0")
    ('door', 'host', 'walk.mp4', 'Camera 0')
    """
    if source.isdigit():
        return f"Camera {source}"
    if "://" in source:
        parts = urlsplit(source)
        return os.path.basename(parts.path) or parts.hostname or "stream"
    return os.path.basename(source)


def _camera(model: Model, medium: str, name: str, number: str, view: View, inputs: Sequence[Path]) -> Camera:
    stem = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)[:80] + number
    recorder = Recorder(view.folder, stem, model.spec, inputs, frame_rate(medium), view.orientation, view.drawing)
    return Camera(
        model, medium, name, recorder,
        track=view.track, tracking=view.tracking, people=view.people, orientation=view.orientation,
        loop=view.loop, quality=view.quality,
    )  # fmt: skip


def _await(cameras: Sequence[Camera]) -> None:
    """Until each has shown something, will show nothing, or takes long; raises PosertError if none will."""
    until = time.monotonic() + _FIRST_S
    for camera in cameras:
        camera.begun.wait(max(0.0, until - time.monotonic()))
    failures = [camera.failure for camera in cameras if camera.failure is not None and camera.shot is None]
    if len(failures) == len(cameras):
        raise PosertError(failures[0].what, failures[0].hint)
