"""How people are followed, smoothed and measured: the records of options, and where their numbers come from.

Owns the options. Knows neither poses nor files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from posert.typed import Misfit, Range, Share, settle

_Least0 = Annotated[float, Range(0)]
_Above0 = Annotated[float, Range(above=0)]
_LEAST_HZ = 0.05  # of filtfilt, which waits for three periods


@dataclass(frozen=True, slots=True)
class TrackOptions:
    """How ids are given, see `Tracker`; the defaults are the project's own.

    Attributes:
        memory: a person may be out of sight this long, seconds.
        min_near: how near pose and place must be: nobody is taken for somebody elsewhere because the clothes are alike.
        min_alike: the same of everything together.
        loosen: the tolerance of a prediction grows by this factor per second out of sight.
        newcomer: what a person seen once loses of the likeness: no fragment outdoes whom it belongs to.
        clothes: share of the colours in the likeness, where there are some.
        recall: who was away for at most so long may be known again by the clothes alone, seconds; 0 = nobody is.
        max_apart: how far the colours of the same clothes are apart at most, grey levels, the mean over all limbs.
        margin: how much farther apart everybody else known must be, grey levels.

    Raises:
        Misfit: a `PosertError` that names the first field with a wrong value.
    """

    memory: _Least0 = 1.0
    min_near: Share = 0.05
    min_alike: Share = 0.3
    loosen: _Least0 = 3.0
    newcomer: Share = 0.3
    clothes: Share = 0.5
    recall: _Least0 = 60.0
    max_apart: _Least0 = 26.0
    margin: _Above0 = 8.0

    def __post_init__(self) -> None:
        settle(self)


@dataclass(frozen=True, slots=True)
class SmoothOptions:
    """How keypoints are smoothed.

    Attributes:
        method: `one-euro` follows at once (`Smoother`); `filtfilt`, for files, is the Butterworth filter of movement
            analysis, run forward and then backward: without delay in what it gives, which comes a little later; `none`.
        cutoff_hz: of a keypoint at rest for one-euro, the project's own; of all movement for filtfilt, as usual in gait
            analysis. None = 1.5 and 6.
        beta: added hertz per box diagonal and second, so that it means the same for near and far people; the project's
            own. Of one-euro.
        speed_cutoff_hz: of the speed; the paper's. Of one-euro.
        memory: a person may be out of sight this long, seconds. Of one-euro.
        fill: keypoints and people who were not found for less than this are put between the two sightings around,
            seconds; 0 = none are.

    Raises:
        Misfit: a `PosertError` that names the first field with a wrong value.
    """

    method: Literal["one-euro", "filtfilt", "none"] = "one-euro"
    cutoff_hz: _Above0 | None = None
    beta: _Least0 = 20.0
    speed_cutoff_hz: _Above0 = 1.0
    memory: _Least0 = 1.0
    fill: Annotated[float, Range(0, 60)] = 0.0

    @property
    def cutoff(self) -> float:
        """The cut-off of the method, hertz."""
        return self.cutoff_hz or (6.0 if self.method == "filtfilt" else 1.5)

    def __post_init__(self) -> None:
        settle(self)
        if self.method == "filtfilt" and self.cutoff < _LEAST_HZ:
            raise Misfit("cutoff_hz", f"at least {_LEAST_HZ:g} with the method filtfilt", self.cutoff_hz)


@dataclass(frozen=True, slots=True)
class FeatureOptions:
    """How features are measured, see `Featuring`.

    Attributes:
        degrees: angles in degrees instead of radians; files say so in the names of the angles.
        person_height_m: everybody's height, metres, which brings distances in metres; 0 = not known.
        floor_angle_deg: of the floor in the picture, degrees, positive if it rises to the right: segments and metres
            are measured from it. The estimate among the features is that of the picture all the same.

    Raises:
        Misfit: a `PosertError` that names the first field with a wrong value.
    """

    degrees: bool = False
    person_height_m: Annotated[float, Range(0, 3)] = 0.0
    floor_angle_deg: Annotated[float, Range(-90, 90)] = 0.0

    def __post_init__(self) -> None:
        settle(self)


GROUPS: Mapping[str, tuple[str, type]] = {
    "track": ("tracking", TrackOptions), "smooth": ("smoothing", SmoothOptions),
    "features": ("featuring", FeatureOptions),
}  # fmt: skip
"""Group of parameters -> the field of `Settings` that has them, and their record."""
