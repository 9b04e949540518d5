"""Slow twin of the decoder `paf`: dense up-sampling, one sample at a time, dictionaries; float64."""

import math

import numpy as np

from posert.poses import Skeleton
from posert.postprocess.decoders.paf import Params


def upsample(field: np.ndarray, high: int, wide: int, rule: str) -> np.ndarray:
    """f64 [high,wide] of one map."""
    out = np.zeros((high, wide))
    for y in range(high):
        for x in range(wide):
            for row, row_weight in _taps(y, field.shape[0], high, rule):
                for column, column_weight in _taps(x, field.shape[1], wide, rule):
                    out[y, x] += row_weight * column_weight * field[row, column]
    return out


def _taps(sample: int, length: int, size: int, rule: str) -> list[tuple[int, float]]:
    step = length / size
    if rule == "area":
        begin, end = sample * step, (sample + 1) * step
        return [
            (cell, (min(end, cell + 1) - max(begin, cell)) / step)
            for cell in range(math.floor(begin), min(length, math.ceil(end - 1e-9)))
        ]
    center, a = (sample + 0.5) * step - 0.5, -0.75
    taps = []
    for cell in range(math.floor(center) - 1, math.floor(center) + 3):
        d = abs(center - cell)
        near = (a + 2) * d**3 - (a + 3) * d**2 + 1
        taps.append((min(max(cell, 0), length - 1), near if d <= 1 else a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a))
    return taps


def smooth(field: np.ndarray, taps: int) -> np.ndarray:
    """Two passes of the smoothing kernel, zeros beyond the border."""
    if taps == 1:
        return field
    cdf = [0.5 * (1 + math.erf(x / math.sqrt(2))) for x in np.linspace(-3.14, 3.14, taps + 1)]
    kernel = np.sqrt(np.diff(cdf))
    kernel /= kernel.sum()
    for axis in range(2):
        field = np.apply_along_axis(lambda line: np.convolve(np.pad(line, taps // 2), kernel, "valid"), axis, field)
    return field


def decode(heat: np.ndarray, pafs: np.ndarray, skeleton: Skeleton, params: Params, input_wh: tuple[int, int]):
    """(keypoints f64 [N,K,3], scores f64 [N]) of one row."""
    high, wide = int(heat.shape[1] * params.upsample), int(heat.shape[2] * params.upsample)
    peaks: list[list[tuple[int, int, float, int]]] = []
    count = 0
    for part in range(len(skeleton.names)):
        plain = upsample(heat[part], high, wide, params.interpolation)
        smoothed, r, found = smooth(plain, params.smooth_taps), params.peak_radius, []
        for y in range(high):
            for x in range(wide):
                window = smoothed[max(0, y - r) : y + r + 1, max(0, x - r) : x + r + 1]
                if smoothed[y, x] > params.peak_threshold and smoothed[y, x] == window.max():
                    dx, dy = (_vertex(smoothed, y, x, axis) if params.refine else 0.0 for axis in (1, 0))
                    found.append((x + dx, y + dy, plain[y, x], count))
                    count += 1
        peaks.append(found)
    by_id = {peak[3]: peak for part in peaks for peak in part}
    people: list[dict] = []
    for edge, (a, b) in enumerate(skeleton.edges):
        fx, fy = (upsample(pafs[channel], high, wide, params.interpolation) for channel in params.paf_channels[edge])
        for value, p, q in _links(peaks[a], peaks[b], fx, fy, params):
            _grow(people, edge, a, b, p, q, value, params)
    people = [one for one in people if len(one["parts"]) >= 1 and one["size"] >= params.min_parts]
    people = [one for one in people if one["score"] / one["size"] >= params.min_score]
    keypoints = np.zeros((len(people), len(skeleton.names), 3))
    for row, one in zip(keypoints, people, strict=True):
        for part, peak in one["parts"].items():
            x, y, score, _ = by_id[peak]
            row[part] = x / wide * input_wh[0] + params.offset_px, y / high * input_wh[1] + params.offset_px, score
    divisor = (lambda one: one["size"]) if params.person_score == "mean" else (lambda one: len(skeleton.names))
    return keypoints, np.array([one["score"] / divisor(one) for one in people])


def _vertex(field, y, x, axis):
    """Where the parabola through a peak and its two neighbours along one axis is highest; 0 at a border."""
    line, at = (field[y], x) if axis == 1 else (field[:, x], y)
    if not 0 < at < len(line) - 1:
        return 0.0
    before, value, after = line[at - 1 : at + 2]
    bend = before - 2 * value + after
    return float(np.clip((before - after) / (2 * bend), -0.5, 0.5)) if bend < -1e-9 else 0.0


def _links(from_peaks, to_peaks, fx, fy, params):
    candidates = []
    for p in from_peaks:
        for q in to_peaks:
            v = np.array([q[0] - p[0], q[1] - p[1]], float)
            length = np.hypot(*v)
            if length == 0:
                continue
            values = []
            for i in range(params.limb_samples):
                at = i / (params.limb_samples - 1 if params.limb_closed else params.limb_samples)
                x, y = int(p[0] + at * v[0] + 0.5), int(p[1] + at * v[1] + 0.5)
                values.append((fx[y, x] * v[0] + fy[y, x] * v[1]) / length)
            value = np.mean(values) + min(0, 0.5 * len(fx) / length - 1)
            if sum(t > params.limb_threshold for t in values) >= params.limb_least and value > 0:
                candidates.append((value, p, q))
    taken_from, taken_to, links = set(), set(), []
    for value, p, q in sorted(candidates, key=lambda item: -item[0]):
        if p[3] not in taken_from and q[3] not in taken_to:
            links.append((value, p, q))
            taken_from.add(p[3])
            taken_to.add(q[3])
    return links


def _grow(people, edge, a, b, p, q, value, params):
    matches = [one for one in people if one["parts"].get(a) == p[3] or one["parts"].get(b) == q[3]]

    def add(one, part, peak):
        one["parts"][part] = peak[3]
        one["size"] += 1
        one["score"] += peak[2] + value

    if not matches:
        if edge < params.seeding_limbs:
            people.append({"parts": {a: p[3], b: q[3]}, "size": 2, "score": p[2] + q[2] + value})
    elif len(matches) == 1:
        (one,) = matches
        if params.assembly == "first_match":
            if one["parts"].get(b) != q[3]:
                add(one, b, q)
        elif b not in one["parts"]:
            add(one, b, q)
        elif a not in one["parts"]:
            add(one, a, p)
    elif len(matches) == 2 or params.assembly == "complete":
        one, other = matches[:2]
        if not set(one["parts"]) & set(other["parts"]):
            one["parts"].update(other["parts"])
            one["size"] += other["size"]
            one["score"] += other["score"] + value
            people.remove(other)
        elif params.assembly == "first_match":
            add(one, b, q)
