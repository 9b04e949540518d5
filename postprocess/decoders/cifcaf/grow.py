"""Shared kernels: seeds and connections -> poses, by growing each along the skeleton. Knows keypoints by index only.

A joint is (score, x px, y px, scale px); score 0 means that it is not there. Equal priorities are taken in the order
in which they were found.
"""

import math

import numpy as np

from posert.postprocess.decoders.cifcaf.caf import blend
from posert.postprocess.decoders.cifcaf.cif import clamp
from posert.postprocess.kernels.registry import (
    F32x1,
    F32x2,
    F64x2,
    F64x3,
    I32x1,
    I32x2,
    I64x1,
    I64x2,
    U8x1,
    U8x3,
    jit,
    kernel,
)

_GUESSED = 1e-5  # score of a joint that only copies its neighbour


@jit
def mark(occupied, x, y, s, value):
    """Sets to `value` the square around a joint on a map u8 [H,W] of half the resolution: 1 occupies, 0 frees it."""
    height, width = occupied.shape
    x, y, radius = x / 2, y / 2, max(2.0, s / 2)
    left, top = clamp(x - radius, 0, width - 1), clamp(y - radius, 0, height - 1)
    right, bottom = clamp(x + radius, left + 1, width), clamp(y + radius, top + 1, height)
    occupied[top:bottom, left:right] = value


@jit
def free(occupied, poses, count):
    """Frees what the joints of `count` poses occupy on maps u8 [K,H,W]: far less than the whole maps."""
    for i in range(count):
        for joint in range(poses.shape[1]):
            if poses[i, joint, 0] > 0:
                mark(occupied[joint], poses[i, joint, 1], poses[i, joint, 2], poses[i, joint, 3], 0)


@jit
def is_occupied(occupied, x, y):
    height, width = occupied.shape
    return occupied[clamp(y / 2, 0, height - 1), clamp(x / 2, 0, width - 1)] != 0


@jit
def _before(keys, turns, a, b):
    return keys[a] > keys[b] or (keys[a] == keys[b] and turns[a] < turns[b])


@jit
def _push(heap, size, keys, turns, way):
    """Adds a direction to the heap (largest key first, then earliest turn); returns the new size."""
    at = size
    while at > 0 and _before(keys, turns, way, heap[(at - 1) // 2]):
        heap[at] = heap[(at - 1) // 2]
        at = (at - 1) // 2
    heap[at] = way
    return size + 1


@jit
def _drop_top(heap, size, keys, turns):
    """Removes heap[0]; returns the new size."""
    size -= 1
    way, at = heap[size], 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and _before(keys, turns, heap[child + 1], heap[child]):
            child += 1
        if not _before(keys, turns, heap[child], way):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = way
    return size


@jit
def _add(joint, pose, graph, frontier, size, turn):
    """Pushes the untried directions from `joint` to joints that are not there; returns the size and the turn."""
    ends, first_way, ways = graph
    heap, keys, turns, state, _ = frontier
    for i in range(first_way[joint], first_way[joint + 1]):
        way = ways[i]
        if pose[ends[way, 1], 0] > 0 or state[way] != 0:
            continue
        state[way] = 1
        keys[way], turns[way] = np.float32(math.sqrt(pose[joint, 0])), turn
        size, turn = _push(heap, size, keys, turns, way), turn + 1
    return size, turn


@jit
def _target(way, pose, ends, fields, grid, rules, visits, out):
    """Whether a direction leads to a joint, which is then in out f64 [4]."""
    connections, places, starts = fields
    least, relative, reverse_match, _, factor = rules
    a = ends[way, 0]
    v_a, x_a, y_a, s_a = pose[a, 0], pose[a, 1], pose[a, 2], pose[a, 3]
    table = connections, places
    v, x, y, s = blend(table, starts[way], grid, x_a, y_a, s_a, factor, visits)
    if not v > 0:
        return False
    v = math.sqrt(v * v_a)
    if v < least or v < relative * v_a:
        return False
    if reverse_match:
        v_r, x_r, y_r, _ = blend(table, starts[way ^ 1], grid, x, y, s, factor, visits)
        if not v_r > 0 or abs(x_a - x_r) + abs(y_a - y_r) > s_a:
            return False
    out[0], out[1], out[2], out[3] = v, x, y, s
    return True


@jit
def _grow(pose, graph, fields, grid, rules, frontier, visits):
    """Completes pose f64 [K,4] along the skeleton, the most certain joint first."""
    ends = graph[0]
    heap, keys, turns, state, joints = frontier
    state[:] = 0
    size, turn, greedy = 0, 0, rules[3]
    for joint in range(pose.shape[0]):
        if pose[joint, 0] > 0:
            size, turn = _add(joint, pose, graph, frontier, size, turn)
    while size > 0:
        way = heap[0]
        size = _drop_top(heap, size, keys, turns)
        end = ends[way, 1]
        if pose[end, 0] > 0:
            continue
        if state[way] == 1:  # not computed yet
            if not _target(way, pose, ends, fields, grid, rules, visits, joints[way]):
                continue
            if not greedy:
                state[way], keys[way], turns[way] = 2, np.float32(joints[way, 0]), turn
                size, turn = _push(heap, size, keys, turns, way), turn + 1
                continue
        for i in range(4):
            pose[end, i] = joints[way, i]
        size, turn = _add(end, pose, graph, frontier, size, turn)


@jit
def _flood(pose, graph, frontier):
    """Gives every joint that is not there the place of its neighbour, the most certain neighbour first."""
    ends = graph[0]
    heap, keys, turns, state, _ = frontier
    state[:] = 0
    size, turn = 0, 0
    for joint in range(pose.shape[0]):
        if pose[joint, 0] > 0:
            size, turn = _add(joint, pose, graph, frontier, size, turn)
    while size > 0:
        way = heap[0]
        size = _drop_top(heap, size, keys, turns)
        start, end = ends[way, 0], ends[way, 1]
        if pose[end, 0] > 0:
            continue
        pose[end, 0] = _GUESSED
        for i in range(1, 4):
            pose[end, i] = pose[start, i]
        size, turn = _add(end, pose, graph, frontier, size, turn)


@kernel
def grow_poses(
    seeds: F32x2,
    order: I32x1,
    seed_count: int,
    ends: I64x2,
    first_way: I64x1,
    ways: I64x1,
    connections: F32x2,
    places: I32x1,
    starts: I32x2,
    bucket_px: float,
    grid_w: int,
    grid_h: int,
    least: float,
    relative: float,
    reverse_match: int,
    greedy: int,
    visits: I64x1,
    heap: I32x1,
    keys: F32x1,
    turns: I64x1,
    state: U8x1,
    joints: F64x2,
    occupied: U8x3,
    poses: F64x3,
) -> int:
    """The number of poses, one from every seed that no earlier pose occupies, at most len(poses).

    Args:
        seeds, order: as `find_seeds` gives them. ends: i64 [2L,2]. first_way, ways: i64 [K+1] and [2L], the directions
            that leave each keypoint. connections, places, starts, bucket_px, grid_w, grid_h: of `score_connections`.
        least, relative: least score of a joint, and as a fraction of its neighbour's. reverse_match: whether a
            connection must lead back to its source. greedy: take the first joint that a frontier yields.
        visits: i64 [1], connections read, see MAX_VISITS. heap i32 [2L], keys f32 [2L], turns i64 [2L], state u8 [2L],
            joints f64 [2L,4] are workspace. occupied: u8 [K,H/2+1,W/2+1], all zeros, before and after.
        poses: f64 [P,K,4] out: score, x px, y px, scale px.
    """
    frontier, graph = (heap, keys, turns, state, joints), (ends, first_way, ways)
    fields, grid = (connections, places, starts), (1.0 / bucket_px, grid_w, grid_h)
    rules = (least, relative, reverse_match, greedy, 1.0)
    count = 0
    for i in range(seed_count):
        seed = seeds[order[i]]
        part = int(seed[1])
        if is_occupied(occupied[part], float(seed[2]), float(seed[3])):
            continue
        if count == poses.shape[0]:
            break
        pose = poses[count]
        pose[:] = 0
        pose[part, 0], pose[part, 1], pose[part, 2], pose[part, 3] = seed[0], seed[2], seed[3], seed[4]
        _grow(pose, graph, fields, grid, rules, frontier, visits)
        for joint in range(pose.shape[0]):
            if pose[joint, 0] > 0:
                mark(occupied[joint], pose[joint, 1], pose[joint, 2], pose[joint, 3], 1)
        count += 1
    free(occupied, poses, count)
    return count


@kernel
def complete_poses(
    poses: F64x3,
    count: int,
    ends: I64x2,
    first_way: I64x1,
    ways: I64x1,
    connections: F32x2,
    places: I32x1,
    starts: I32x2,
    bucket_px: float,
    grid_w: int,
    grid_h: int,
    least: float,
    relative: float,
    greedy: int,
    visits: I64x1,
    heap: I32x1,
    keys: F32x1,
    turns: I64x1,
    state: U8x1,
    joints: F64x2,
) -> int:
    """Gives each of `count` poses all joints, from weak connections and then from neighbours; returns `count`.

    The arguments are those of `grow_poses`; the connections here are those above a low threshold.
    """
    frontier, graph = (heap, keys, turns, state, joints), (ends, first_way, ways)
    fields, grid = (connections, places, starts), (1.0 / bucket_px, grid_w, grid_h)
    rules = (least, relative, 0, greedy, 4.0)
    for i in range(count):
        _grow(poses[i], graph, fields, grid, rules, frontier, visits)
        _flood(poses[i], graph, frontier)
    return count
