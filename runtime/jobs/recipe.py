"""What a process needs to know to do jobs: how to open the model, and what to do with each source.

Owns these records, and the start of a process with one. Knows nothing of jobs or clusters.
"""

import json
import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.connection import Connection
from typing import Any

from posert.errors import PosertError
from posert.poses import Frame
from posert.runtime.after.options import FeatureOptions, SmoothOptions, TrackOptions
from posert.runtime.choose import PeopleOptions, no_ids
from posert.runtime.devices import cpu_cores
from posert.runtime.files.drawing import DrawOptions
from posert.runtime.files.formats import any_format, formats_of, sinks_of
from posert.runtime.loop import TopDown
from posert.runtime.media.orientation import Orientation
from posert.runtime.media.read import frames
from posert.runtime.options import ModelOptions
from posert.runtime.parameters import as_given
from posert.runtime.session import Model, open_model, read_spec
from posert.runtime.share import in_turn

_CHANGE_NO_RESULT = ("arena", "device", "latency", "places", "threads", "workers")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which frames of every source, and how they are turned; see `frames`."""

    start_s: float = 0.0
    stop_s: float | None = None
    first: int = 0
    last: int | None = None
    stride: int = 1
    rotate: int = 0
    mirror: bool = False
    size_wh: tuple[int, int] | None = None
    fps: float = 30.0
    hwaccel: str | None = None
    key_frames: bool = False

    def __post_init__(self) -> None:
        _ = self.orientation  # what is wrong with it is of no single source

    @property
    def orientation(self) -> Orientation:
        """How pictures are turned; raises PosertError for an angle that is none."""
        return Orientation(self.rotate, self.mirror)  # type: ignore[arg-type]

    def of(self, source: str, live: bool | None = None, threads: int = 0) -> Iterator[Frame]:
        """The frames of a source, decoded by so many threads, see `frames`."""
        return frames(source, **asdict(self), live=live, threads=threads)


@dataclass(frozen=True, slots=True)
class Settings:
    """What is done with every source.

    Attributes:
        form: a name of `FORMATS`, or several, separated by commas.
        selection: which frames.
        batch: frames per network call.
        track, smooth, features: ids, steady keypoints, features; smooth and features bring ids.
        tracking, smoothing, featuring: how.
        people: whose poses stay; an id of one person brings no ids.
        include_empty: a record for frames without people in formats that leave them out.
        boxes: a file with the boxes of a top-down model; None = its detector's.
        top_down: how a top-down model works.
        drawing: how people are drawn, where they are.
        keypoint_scale: unit of the keypoints in the file, see `in_units`; for formats that know it.
        live: the source does not wait, see `estimate`; cameras and streams never do.
        places: where results belong that are written here first, see `delivered`.

    Raises:
        PosertError: no such format, none that knows `keypoint_scale`, or a person is named by an id and nobody has one.
    """

    form: str = "jsonl"
    selection: Selection = field(default_factory=Selection)
    batch: int = 1
    track: bool = False
    smooth: bool = False
    features: bool = False
    tracking: TrackOptions = field(default_factory=TrackOptions)
    smoothing: SmoothOptions = field(default_factory=SmoothOptions)
    people: PeopleOptions = field(default_factory=PeopleOptions)
    featuring: FeatureOptions = field(default_factory=FeatureOptions)
    include_empty: bool = False
    boxes: str | None = None
    top_down: TopDown = field(default_factory=TopDown)
    drawing: DrawOptions = field(default_factory=DrawOptions)
    keypoint_scale: int = 0
    live: bool = False
    places: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "form", ",".join(formats_of(self.form)))
        if self.keypoint_scale:
            sinks_of(self.form, unit=self.keypoint_scale)
        ids = self.track or self.smooth or self.features or any_format(self.form, "ids")
        if self.people.needs_ids and not ids:
            raise no_ids(self.people)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to open the model and what to do with it; small, so that it can be sent to another process.

    Attributes:
        model: as in `open_model`.
        settings: for every source.
        options: how to open the model; several devices, separated by commas, are shared out among the workers. Its
            `workers` are ignored: as many frames are in flight as there are threads, or one with `latency`.

    Raises:
        PosertError: `latency`, and frames that wait for others.
    """

    model: str
    settings: Settings = field(default_factory=Settings)
    options: ModelOptions = field(default_factory=ModelOptions)

    def __post_init__(self) -> None:
        if self.options.latency and self.settings.batch > 1:
            raise PosertError(
                "with `latency` no frame waits for others, in a batch it does", "leave `latency` or `batch` away"
            )

    @property
    def threads(self) -> int:
        """CPU threads of a process."""
        return self.options.threads or cpu_cores()

    def in_turn(self) -> bool:
        """Whether a frame of a source must wait for the people of the last one; raises as `open_model` does."""
        if self.settings.top_down.detect_every > 1:
            return True
        return self.settings.boxes is None and in_turn(read_spec(self.model, self.options))

    def open(self, lanes: int = 1) -> Model:
        """The open model, on the first of several devices; raises what `open_model` raises.

        Args:
            lanes: sources that will be worked at side by side; the threads are shared out among them.
        """
        device = self.options.device.split(",")[0]
        if self.options.latency:
            return open_model(self.model, self.options, device=device)
        threads = self.options.threads if lanes == 1 else max(1, self.threads // lanes)
        in_flight = 1 if self.settings.top_down.detect_every > 1 else threads or self.threads
        return open_model(self.model, self.options, device=device, threads=threads, workers=in_flight)

    def for_worker(self, number: int) -> "Recipe":
        """The recipe of one worker process of many: a single thread, the next device in turn."""
        devices = self.options.device.split(",")
        return replace(self, options=replace(self.options, threads=1, device=devices[number % len(devices)]))

    def spawn(self, number: int, work: Callable[..., None], *more: Any) -> tuple[Connection, Any]:
        """Starts `work(pipe, recipe, *more)` with the recipe `for_worker`; our end of the pipe, and the process.

        Spawned, not forked: ONNX Runtime and the loop hold threads.
        """
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        arguments = (theirs, self.for_worker(number), *more)
        process = context.Process(target=work, args=arguments, name=f"posert-{number}", daemon=True)
        process.start()
        theirs.close()
        return ours, process

    def record(self) -> dict[str, Any]:
        """What the results depend on besides the model file, as JSON; equal recipes give equal records."""
        values = asdict(self.settings) | asdict(self.options)
        values["params"] = [f"{name}={as_given(value)}" for name, value in self.options.params.items()]
        kept = {name: value for name, value in values.items() if name not in _CHANGE_NO_RESULT}
        record: dict[str, Any] = json.loads(json.dumps(kept, default=str))  # a detector's path; tuples are lists
        return record
