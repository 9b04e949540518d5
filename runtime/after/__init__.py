"""What happens to the results of one source after the loop, in order: ids, smoothing, features, and who stays of it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from posert.poses import Result, Skeleton
from posert.runtime.after.features import Featuring
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
) -> Callable[[Result, NDArray[np.uint8]], Result]:
    """A function of each result and its picture u8 [H,W,3], to be called in order; smooth and features track.

    `tracking`, `smoothing`, `featuring` and `people` say how and who; None = their defaults. Who is left out has been
    followed, so that nobody changes ids by it.
    """
    chooser = Chooser(people or PeopleOptions(), (tracking or TrackOptions()).memory)
    tracker = Tracker(skeleton, tracking) if track or smooth or features else None
    smoother = Smoother(smoothing) if smooth else None
    measure = Featuring(skeleton, featuring) if features else None

    def refine(result: Result, picture: NDArray[np.uint8]) -> Result:
        if tracker is not None:
            result = replace(result, poses=tracker(result.poses, result.time_s, picture))
        if smoother is not None:
            result = replace(result, poses=smoother(result.poses, result.time_s))
        if measure is not None:
            result = replace(result, features=measure(result.poses, result.time_s, result.size_wh))
        return chooser(result)

    return refine
