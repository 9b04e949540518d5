"""How pictures are turned as they are read, behind what their files say of it. Knows pixels, nothing of sources."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from posert.typed import settle

_QUARTERS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


@dataclass(frozen=True, slots=True)
class Orientation:
    """First a rotation, then a reflection. Whoever reads so sees the turned picture alone: places are px of it.

    Attributes:
        rotate: degrees clockwise.
        mirror: left and right change places; networks then name a person's left arm the right one.

    Raises:
        Misfit: a `PosertError`: another angle.
    """

    rotate: Literal[0, 90, 180, 270] = 0
    mirror: bool = False

    def __post_init__(self) -> None:
        settle(self)

    def __bool__(self) -> bool:
        return self != Orientation()

    def of(self, bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture u8 [H,W,3] turned; itself if there is nothing to do."""
        turned = cv2.rotate(bgr, _QUARTERS[self.rotate]) if self.rotate else bgr
        return np.asarray(cv2.flip(turned, 1) if self.mirror else turned, np.uint8)


UPRIGHT = Orientation()
"""As the file says."""
