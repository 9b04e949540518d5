"""Which of a network's outputs are the map of a keypoint or the field of a limb, by their roles. Knows no pictures.

A map is asked for as `heatmap:NAME` (a keypoint) or `paf:NAME` (a limb: the names of its keypoints, `neck-nose`); the
name `all` gives the greatest of all.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Float32Array, Skeleton

Outputs = Mapping[str, NDArray[Any]]
ReadMap = Callable[[Outputs], Float32Array]
"""Role -> array [R,...] of a network's outputs -> f32 [R,h,w] of a keypoint, 0..1, or [R,2,h,w] (x, y) of a limb."""
_ROLES = {"heatmap": ("heatmaps", "maps", "cif"), "paf": ("pafs", "caf")}
_ALL = "all"


def map_reader(asked: str, roles: Mapping[str, str], skeleton: Skeleton, params: Any) -> ReadMap:
    """A function that takes the map that is asked for out of the outputs.

    Args:
        asked: see above. roles: of the network's outputs. params: of their decoder.

    Raises:
        PosertError: the network has no such maps, or the skeleton no such keypoint or limb.
    """
    kind, _, name = asked.partition(":")
    role = next((role for role in _ROLES.get(kind, ()) if role in roles), None)
    if role is None:
        known = " or ".join(_ROLES.get(kind, ()))
        raise PosertError(
            f"{asked}: the network's outputs are {', '.join(roles)}, none of them {known}",
            "networks of the decoders paf, bodyparts and cifcaf have both, of heatmap the maps; see posert info MODEL",
        )
    if kind == "heatmap":
        numbers = _numbered(asked, name, {part: k for k, part in enumerate(skeleton.names)})
        return lambda outputs: _part_map(outputs[role], role, numbers, params)
    numbers = _numbered(asked, name, {limb: number for number, limb in enumerate(limb_names(skeleton))})
    return lambda outputs: _limb_field(outputs[role], role, numbers, params)


def limb_names(skeleton: Skeleton) -> list[str]:
    """What each of its limbs is called: the names of its two keypoints, `neck-nose`."""
    return [f"{skeleton.names[a]}-{skeleton.names[b]}" for a, b in skeleton.edges]


def _numbered(asked: str, name: str, known: Mapping[str, int]) -> list[int]:
    either = {"-".join(reversed(key.split("-"))): number for key, number in known.items()} | dict(known)
    if name != _ALL and name not in either:
        raise PosertError(f"{asked}: there is no {name!r}", f"take {_ALL}, or one of: {', '.join(known)}")
    return sorted(known.values()) if name == _ALL else [either[name]]


def _part_map(given: NDArray[Any], role: str, numbers: list[int], params: Any) -> Float32Array:
    maps = np.asarray(given[:, numbers, 1] if role == "cif" else given[:, numbers], np.float32)
    integral = int(getattr(params, "integral", 0))
    if role == "maps" and integral:  # of some keypoints the logits
        first = given.shape[1] - integral if integral > 0 else 0
        late = np.array(numbers) >= first
        maps[:, late] = 1 / (1 + np.exp(-np.clip(maps[:, late], -50, 50)))
    return maps.max(axis=1)


def _limb_field(given: NDArray[Any], role: str, numbers: list[int], params: Any) -> Float32Array:
    if role == "caf":
        ends = given[:, numbers].astype(np.float32)
        step = ends[:, :, 4:6] - ends[:, :, 2:4]
        fields = ends[:, :, 1:2] * step / np.maximum(np.hypot(step[:, :, :1], step[:, :, 1:]), 1e-6)
    else:
        channels = [channel for number in numbers for channel in params.paf_channels[number]]
        fields = given[:, channels].astype(np.float32).reshape(len(given), len(numbers), 2, *given.shape[2:])
    longest = np.hypot(fields[:, :, 0], fields[:, :, 1]).argmax(axis=1)
    return np.take_along_axis(fields, longest[:, None, None], axis=1)[:, 0]
