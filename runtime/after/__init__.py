"""What happens to the results of one source after the loop, in order: ids, smoothing, features, and who stays of it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Result, Skeleton
from posert.runtime.after.clothes import Clothes
from posert.runtime.after.features import Featuring
from posert.runtime.after.hindsight import wait_s
from posert.runtime.after.options import FeatureOptions, SmoothOptions, TrackOptions
from posert.runtime.after.smooth import Smoother
from posert.runtime.after.track import Tracker
from posert.runtime.choose import Chooser, PeopleOptions


def post_chain(
    skeleton: Skeleton,
    *,
    track: bool = False,
    smooth: bool = False,
    features: bool = False,
    tracking: TrackOptions | None = None,
    smoothing: SmoothOptions | None = None,
    people: PeopleOptions | None = None,
    featuring: FeatureOptions | None = None,
    tracked: bool = False,
) -> Callable[[Result, NDArray[np.uint8] | Clothes], Result]:
    """A function of each result and its picture u8 [H,W,3], to be called in order; smooth and features track.

    Instead of the picture, what people wear in it will do (`worn`).

    `tracking`, `smoothing`, `featuring` and `people` say how and who; None = their defaults. Who is left out has been
    followed, so that nobody changes ids by it. `tracked`: people have ids, and what smoothing knows by `hindsight` is
    done.

    Raises:
        PosertError: the package lap is missing; or `smoothing` wants what comes later, which is not there yet.
    """
    if smooth and smoothing is not None and wait_s(smoothing) and not tracked:
        raise PosertError(
            "filled gaps and the method filtfilt need what comes after a frame, which nobody waits for here",
            "smooth a file, or as usual: method one-euro, fill 0",
        )
    chooser = Chooser(people or PeopleOptions(), (tracking or TrackOptions()).memory)
    tracker = Tracker(skeleton, tracking) if (track or smooth or features) and not tracked else None
    smoother = Smoother(smoothing) if smooth and (smoothing or SmoothOptions()).method == "one-euro" else None
    measure = Featuring(skeleton, featuring) if features else None

    def refine(result: Result, picture: NDArray[np.uint8] | Clothes) -> Result:
        if tracker is not None:
            result = replace(result, poses=tracker(result.poses, result.time_s, picture))
        if smoother is not None:
            result = replace(result, poses=smoother(result.poses, result.time_s))
        if measure is not None:
            result = replace(result, features=measure(result.poses, result.time_s, result.size_wh))
        return chooser(result)

    return refine
