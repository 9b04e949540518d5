"""Who somebody is by the colours of the clothes: along each limb, which move with the body.

Owns these colours and what is made of them. Knows poses and pictures, nothing of time.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from posert.poses import Poses, Skeleton

Floats = NDArray[np.float64]
LIMB_POINTS = np.linspace(0.25, 0.75, 5)  # where along a limb its colour is looked at
COVERED = 0.6  # share of the limbs that two people must both show
COLOUR_STEP = 40.0  # grey levels that make two colours e times less alike


class Clothes(NamedTuple):
    """What people of one frame wear: `limb_colours`."""

    colours: Floats
    lengths: Floats


def limb_colours(keypoints: Floats, limbs: NDArray[np.int64], picture: NDArray[np.uint8] | None) -> Clothes:
    """The median colour along the middle of each limb, f64 [N,L,3] (NaN where an end is missing), and lengths [N,L] px.

    Args:
        keypoints: f64 [N,K,3], px.
        limbs: i64 [L,2], pairs of keypoints.
        picture: u8 [H,W,3] or None: then no limb has a colour.
    """
    ends = keypoints[:, limbs]
    found = (ends[..., 2] > 0).all(axis=2) & (picture is not None)
    along = ends[:, :, 1, :2] - ends[:, :, 0, :2]
    colours = np.full((*found.shape, 3), np.nan)
    if picture is not None and found.any():
        points = ends[:, :, 0, None, :2] + along[:, :, None] * LIMB_POINTS[:, None]
        highest = np.array(picture.shape[1::-1]) - 1
        x, y = np.moveaxis(np.clip(np.rint(points[found]), 0, highest).astype(np.intp), 2, 0)
        colours[found] = np.median(picture[y, x], axis=1)
    return Clothes(colours, np.where(found, np.hypot(along[..., 0], along[..., 1]), 0.0))


def worn(skeleton: Skeleton, poses: Poses, picture: NDArray[np.uint8] | None) -> Clothes:
    """All that tracking needs of a picture u8 [H,W,3], so that ids can be found where it is not."""
    limbs = np.array(skeleton.edges, np.int64).reshape(-1, 2)
    return limb_colours(poses.keypoints.astype(np.float64), limbs, picture)


def colour_likeness(colours: Floats, lengths: Floats, old: Floats) -> Floats:
    """How alike the colours of N people and M others are, f64 [N,M], 0..1, long limbs counting more; NaN if unknown.

    Args:
        colours, old: f64 [N,L,3] and [M,L,3], NaN where a limb was not found.
        lengths: f64 [N,L], px, 0 where not found.
    """
    apart = np.abs(colours[:, None] - old[None]).mean(axis=3)
    weights = np.where(np.isnan(apart), 0.0, lengths[:, None])
    total = weights.sum(axis=2)
    mean = (np.nan_to_num(apart) * weights).sum(axis=2) / np.where(total > 0, total, np.nan)
    alike: Floats = np.exp(-mean / COLOUR_STEP)
    return alike


def mixed(old: Floats, new: Floats, share: float) -> Floats:
    """Colours f64 [L,3] moved towards new ones; those seen but once as they were seen."""
    both = old + share * (new - old)
    out: Floats = np.where(np.isnan(both), np.where(np.isnan(new), old, new), both)
    return out


def clothes_apart(
    colours: Floats, lengths: Floats, old: Floats, old_lengths: Floats, covered: float = COVERED
) -> Floats:
    """Mean difference of colours over the limbs that N people and M others both show, f64 [N,M], grey levels.

    Infinite where less than `covered` of the limbs, by length, is shown by both.
    """
    apart = np.abs(colours[:, None] - old[None]).mean(axis=3)
    scale, old_scale = (np.maximum(each.max(axis=1, initial=0), 1e-9)[:, None] for each in (lengths, old_lengths))
    shares, old_shares = lengths / scale, old_lengths / old_scale
    both = np.where(np.isnan(apart), 0.0, np.minimum(shares[:, None], old_shares[None]))
    total = both.sum(axis=2)
    mean = (np.nan_to_num(apart) * both).sum(axis=2) / np.maximum(total, 1e-9)
    enough = total >= covered * np.maximum(shares[:, None], old_shares[None]).sum(axis=2)
    return np.where(enough & (total > 0), mean, np.inf)
