"""Slow twin of the decoder `bodyparts`: every map up-sampled whole, dictionaries and sorted lists."""

import math

import cv2
import numpy as np

from posert.poses import Skeleton
from posert.postprocess.decoders.bodyparts import Params


def upsample(field: np.ndarray, wide: int, high: int, rule: str) -> np.ndarray:
    """f32 [high,wide] of one map."""
    if rule == "cubic":
        return cv2.resize(field, (wide, high), interpolation=cv2.INTER_CUBIC)
    return _keys(_keys(field.astype(float), high).T, wide).T.astype(np.float32)


def _keys(lines: np.ndarray, size: int) -> np.ndarray:
    """Keys' cubic along axis 0, a = -0.5, as a polynomial in the distance from the second of four cells."""
    count = len(lines)
    center = (np.arange(size) + 0.5) * count / size - 0.5
    cell = np.maximum(np.floor(center), 0).astype(int)
    d = (center - cell)[:, None]
    p = [lines[np.clip(cell + i, 0, count - 1)] for i in (-1, 0, 1, 2)]
    bend = 2 * p[0] - 5 * p[1] + 4 * p[2] - p[3] + d * (3 * (p[1] - p[2]) + p[3] - p[0])
    return p[1] + 0.5 * d * (p[2] - p[0] + d * bend)


def peaks(grid: np.ndarray, threshold: float, rule: str, most: int, offset: float) -> list[tuple[float, float, float]]:
    """(x, y, score) of one up-sampled map, in scan order."""
    high, wide = grid.shape
    found = []
    for y, x in zip(*np.nonzero(grid > threshold), strict=True):
        around = [
            grid[j, i]
            for j in range(y - 1, y + 2)
            for i in range(x - 1, x + 2)
            if 0 <= j < high and 0 <= i < wide and (j, i) != (y, x)
        ]
        inner, ring = 1, False
        if rule == "ring":
            inner, ring = 2, x in (1, wide - 2) or y in (1, high - 2)
        if inner <= x < wide - inner and inner <= y < high - inner:
            top = all(grid[y, x] > value for value in around)
        else:
            top = ring and all(grid[y, x] >= value for value in around)
        if top and np.isfinite(grid[y, x]):
            y0, x0 = max(0, y - 3), max(0, x - 3)
            window = grid[y0 : y + 4, x0 : x + 4].astype(float)
            window = np.where(np.isfinite(window) & (window > 0), window, 0)
            j, i = np.mgrid[y0 : y0 + window.shape[0], x0 : x0 + window.shape[1]]
            total = window.sum()
            place = [np.float32((window * axis).sum() / total) + np.float32(offset) for axis in (i, j)]
            found.append((*place, grid[y, x]))
        if len(found) == most:
            break
    return found


def averaged(several: list[np.ndarray], wide: int, high: int, rule: str) -> np.ndarray:
    """f32 [C,high,wide]: every map of every scale up-sampled whole, and their mean."""
    return np.mean([[upsample(field, wide, high, rule) for field in maps] for maps in several], axis=0).astype("f4")


def limb(a: tuple, b: tuple, fx: np.ndarray, fy: np.ndarray, params: Params) -> float:
    """The value of one pair of peaks, 0 if it is refused."""
    high, wide = fx.shape
    v = np.array([b[0] - a[0], b[1] - a[1]], np.float32)
    length = math.hypot(*v)
    if length <= 1e-6:
        return 0.0
    samples = min(max(int(math.sqrt(5 * np.abs(v).max()) + 0.5), 5), 25)
    steps = np.arange(samples, dtype=np.float32)
    x, y = (np.trunc(a[k] + steps * v[k] / np.float32(samples) + np.float32(0.5)).astype(int) for k in range(2))
    x, y = x.clip(0, wide - 1), y.clip(0, high - 1)
    values = (fx[y, x] * v[0] + fy[y, x] * v[1]) / length
    good = values[values > params.limb_threshold]
    if len(good) / samples > params.limb_ratio:
        return float(np.mean(good)) if np.isfinite(np.mean(good)) else 0.0
    return params.peak_threshold + 1e-6 if length < math.sqrt(wide * high) / 150 else 0.0


def global_sort(found: list[list[tuple]], limbs: list[tuple], edges: tuple) -> list[dict]:
    """People, best limb of all edges first. limbs: (value, edge, i, j)."""
    keyed = [(v + 0.1 * found[edges[e][0]][i][2] + 0.1 * found[edges[e][1]][j][2], v, e, i, j) for v, e, i, j in limbs]
    people: list[dict] = []
    for _, v, e, i, j in sorted(keyed, reverse=True):
        ends = {edges[e][0]: i, edges[e][1]: j}
        mine = [one for one in people if any(one["parts"].get(part) == peak for part, peak in ends.items())]
        whole = [one for one in mine if all(one["parts"].get(part) == peak for part, peak in ends.items())]
        if not mine:
            people.append({"parts": ends, "size": 2, "score": v + sum(found[p][k][2] for p, k in ends.items())})
        elif whole:
            whole[0]["score"] += v
        elif len(mine) == 1:
            ((part, peak),) = [(p, k) for p, k in ends.items() if mine[0]["parts"].get(p) != k]
            if part not in mine[0]["parts"]:
                mine[0]["parts"][part] = peak
                mine[0]["size"] += 1
                mine[0]["score"] += found[part][peak][2] + v
        elif not set(mine[0]["parts"]) & set(mine[1]["parts"]):
            mine[0]["parts"].update(mine[1]["parts"])
            mine[0]["size"] += mine[1]["size"]
            mine[0]["score"] += mine[1]["score"] + v
            people = [one for one in people if one is not mine[1]]
    return people


def pairwise(found: list[list[tuple]], limbs: list[tuple], edges: tuple, redundant: tuple) -> list[dict]:
    """People edge by edge."""
    people: list[dict] = []
    for e, (a, b) in enumerate(edges):
        if not found[a] or not found[b]:
            part = b if not found[a] else a
            held = {one["parts"].get(part) for one in people}
            people += [
                {"parts": {part: k}, "size": 1, "score": peak[2]} for k, peak in enumerate(found[part]) if k not in held
            ]
            continue
        taken_a, taken_b = set(), set()
        for v, i, j in sorted(((v, i, j) for v, edge, i, j in limbs if edge == e), reverse=True):
            if i in taken_a or j in taken_b:
                continue
            taken_a.add(i)
            taken_b.add(j)
            if e in redundant:
                for one in people:
                    if one["parts"].get(a) == i and b not in one["parts"]:
                        one["parts"][b] = j
                    elif one["parts"].get(b) == j and a not in one["parts"]:
                        one["parts"][a] = i
                continue
            mine = [one for one in people if one["parts"].get(a) == i] if e else []
            if mine:
                mine[0]["parts"][b] = j
                mine[0]["size"] += 1
                mine[0]["score"] += found[b][j][2] + v
            else:
                people.append({"parts": {a: i, b: j}, "size": 2, "score": found[a][i][2] + found[b][j][2] + v})
    return people


def kept(people: list[dict], params: Params, feet_rule: bool) -> list[dict]:
    """Who is whole enough."""
    out = []
    for one in people:
        feet = sum(part in params.foot_parts for part in one["parts"]) if feet_rule else 0
        size = one["size"] - feet
        if size >= params.min_parts and one["score"] / size >= params.min_score and not (feet and size <= 4):
            out.append(one)
    return out


def decode(heat: np.ndarray, pafs: np.ndarray, skeleton: Skeleton, params: Params, input_wh: tuple[int, int]):
    """(keypoints f64 [N,K,3], scores f64 [N]) of one row."""
    parts, edges, rule = len(skeleton.names), skeleton.edges, params.interpolation
    grids = [upsample(field, *input_wh, rule) for field in heat[:parts]]
    fields = [upsample(field, *input_wh, rule) for field in pafs]
    found = [peaks(grid, params.peak_threshold, params.peak_rule, params.max_peaks, params.offset_px) for grid in grids]
    limbs = []
    for e, (a, b) in enumerate(edges):
        fx, fy = (fields[channel] for channel in params.paf_channels[e])
        for i, p in enumerate(found[a]):
            for j, q in enumerate(found[b]):
                if (v := limb(p, q, fx, fy, params)) > 1e-6:
                    limbs.append((v, e, i, j))
    if params.assembly == "pairwise":
        people = pairwise(found, limbs, edges, params.redundant_edges)
    else:
        people = global_sort(found, limbs, edges)
    people = kept(people, params, True) or kept(people, params, False)
    keypoints = np.zeros((len(people), parts, 3))
    for row, one in zip(keypoints, people, strict=True):
        for part, peak in one["parts"].items():
            row[part] = found[part][peak]
    return keypoints, np.array([one["score"] / (parts + len(edges)) for one in people])
