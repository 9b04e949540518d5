"""Seeds and connections -> poses, by growing each along the skeleton. Knows keypoints by index only.

A joint is (score, x px, y px, scale px); score 0 means that it is not there. The frontier of a pose is a heap of the
directed edges that leave it, the most certain on top; equal priorities are taken in the order in which they were found.
"""

import math
from collections import namedtuple

import numpy as np

from posert.postprocess.decoders.cifcaf.caf import blend
from posert.postprocess.decoders.cifcaf.cif import clamp
from posert.postprocess.kernels.registry import jit
from posert.postprocess.kernels.workspace import take

MAX_MARKED = 1 << 29
"""Poses stop growing when they have occupied so much of the maps; bounds time on hostile fields (12 people: 90,000)."""
_GUESSED = 1e-5  # score of a joint that only copies its neighbour
_UNTRIED, _QUEUED, _COMPUTED = 0, 1, 2  # states of a directed edge

Graph = namedtuple("Graph", "ends firsts leaving")
"""The skeleton's directed edges: ends i64 [2L,2], start and end keypoint; leaving i64 [2L], those that leave keypoint k
are leaving[firsts[k]:firsts[k + 1]], firsts i64 [K+1]."""

Frontier = namedtuple("Frontier", "heap priority entry state joint")
"""The heap i32 [2L] of directed edges, and of each its priority f32, entry (when it was queued) i64, state u8, and
joint f64 [2L,4] once it is computed."""

Rules = namedtuple("Rules", "least relative reverse_match greedy window")
"""When a connection gives a joint.

least, relative: least score of a joint, and as a fraction of its neighbour's.
reverse_match: whether a connection must lead back to its source.
greedy: take the first joint that the frontier yields.
window: factor on the neighbourhood of a joint in which connections count.
"""


@jit
def take_graph(workspace, at, parts, edges):
    """`Graph` and `Frontier` at byte `at` of the workspace, and the place after them."""
    ends, at = take(workspace, at, (2 * edges, 2), np.int64)
    firsts, at = take(workspace, at, (parts + 1,), np.int64)
    leaving, at = take(workspace, at, (2 * edges,), np.int64)
    heap, at = take(workspace, at, (2 * edges,), np.int32)
    priority, at = take(workspace, at, (2 * edges,), np.float32)
    entry, at = take(workspace, at, (2 * edges,), np.int64)
    state, at = take(workspace, at, (2 * edges,), np.uint8)
    joint, at = take(workspace, at, (2 * edges, 4), np.float64)
    return Graph(ends, firsts, leaving), Frontier(heap, priority, entry, state, joint), at


@jit
def fill_graph(graph, edges):
    """The directed edges of the skeleton's edges i64 [L,2]."""
    for edge in range(len(edges)):
        for side in range(2):
            graph.ends[2 * edge + side, 0], graph.ends[2 * edge + side, 1] = edges[edge, side], edges[edge, 1 - side]
    count = 0
    for joint in range(len(graph.firsts)):
        graph.firsts[joint] = count
        for directed in range(len(graph.ends)):
            if graph.ends[directed, 0] == joint:
                graph.leaving[count] = directed
                count += 1


@jit
def mark(occupied, x, y, s, value):
    """Sets to `value` the square around a joint on a map u8 [H,W] of half the resolution: 1 occupies, 0 frees it.

    Returns its size.
    """
    height, width = occupied.shape
    x, y, radius = x / 2, y / 2, max(2.0, s / 2)
    left, top = clamp(x - radius, 0, width - 1), clamp(y - radius, 0, height - 1)
    right, bottom = clamp(x + radius, left + 1, width), clamp(y + radius, top + 1, height)
    occupied[top:bottom, left:right] = value
    return (bottom - top) * (right - left)


@jit
def free(occupied, poses, count):
    """Frees what the joints of `count` poses occupy on maps u8 [K,H,W]: far less than the whole maps."""
    for i in range(count):
        for joint in range(poses.shape[1]):
            if poses[i, joint, 0] > 0:
                mark(occupied[joint], poses[i, joint, 1], poses[i, joint, 2], poses[i, joint, 3], 0)


@jit
def is_occupied(occupied, x, y):
    """Whether a place, px, is taken on a map u8 [H,W] of half the resolution."""
    height, width = occupied.shape
    return occupied[clamp(y / 2, 0, height - 1), clamp(x / 2, 0, width - 1)] != 0


@jit
def _before(frontier, a, b):
    priority, entry = frontier.priority, frontier.entry
    return priority[a] > priority[b] or (priority[a] == priority[b] and entry[a] < entry[b])


@jit
def _push(frontier, size, directed):
    """Adds a directed edge to the heap (largest priority first, then earliest entry); returns the new size."""
    heap, at = frontier.heap, size
    while at > 0 and _before(frontier, directed, heap[(at - 1) // 2]):
        heap[at] = heap[(at - 1) // 2]
        at = (at - 1) // 2
    heap[at] = directed
    return size + 1


@jit
def _drop_top(frontier, size):
    """Removes heap[0]; returns the new size."""
    size -= 1
    heap, at = frontier.heap, 0
    directed = heap[size]
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and _before(frontier, heap[child + 1], heap[child]):
            child += 1
        if not _before(frontier, heap[child], directed):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = directed
    return size


@jit
def _add(joint, pose, graph, frontier, size, entry):
    """Pushes the untried directed edges from `joint` to joints that are not there; returns the size and the entry."""
    for i in range(graph.firsts[joint], graph.firsts[joint + 1]):
        directed = graph.leaving[i]
        if pose[graph.ends[directed, 1], 0] > 0 or frontier.state[directed] != _UNTRIED:
            continue
        frontier.state[directed] = _QUEUED
        frontier.priority[directed], frontier.entry[directed] = np.float32(math.sqrt(pose[joint, 0])), entry
        size, entry = _push(frontier, size, directed), entry + 1
    return size, entry


@jit
def _begin(pose, graph, frontier):
    """The frontier of a pose, from nothing; returns the size and the entry."""
    frontier.state[:] = _UNTRIED
    size, entry = 0, 0
    for joint in range(pose.shape[0]):
        if pose[joint, 0] > 0:
            size, entry = _add(joint, pose, graph, frontier, size, entry)
    return size, entry


@jit
def _target(directed, pose, graph, connections, rules, out):
    """Whether a directed edge leads to a joint, which is then in out f64 [4]."""
    a = graph.ends[directed, 0]
    v_a, x_a, y_a, s_a = pose[a, 0], pose[a, 1], pose[a, 2], pose[a, 3]
    v, x, y, s = blend(connections, directed, x_a, y_a, s_a, rules.window)
    if not v > 0:
        return False
    v = math.sqrt(v * v_a)
    if v < rules.least or v < rules.relative * v_a:
        return False
    if rules.reverse_match:
        v_r, x_r, y_r, _ = blend(connections, directed ^ 1, x, y, s, rules.window)
        if not v_r > 0 or abs(x_a - x_r) + abs(y_a - y_r) > s_a:
            return False
    out[0], out[1], out[2], out[3] = v, x, y, s
    return True


@jit
def _grow(pose, graph, connections, rules, frontier):
    """Completes pose f64 [K,4] along the skeleton, the most certain joint first."""
    size, entry = _begin(pose, graph, frontier)
    while size > 0:
        directed = int(frontier.heap[0])
        size = _drop_top(frontier, size)
        end, joint = graph.ends[directed, 1], frontier.joint[directed]
        if pose[end, 0] > 0:
            continue
        if frontier.state[directed] == _QUEUED:
            if not _target(directed, pose, graph, connections, rules, joint):
                continue
            if not rules.greedy:
                frontier.state[directed] = _COMPUTED
                frontier.priority[directed], frontier.entry[directed] = np.float32(joint[0]), entry
                size, entry = _push(frontier, size, directed), entry + 1
                continue
        for i in range(4):
            pose[end, i] = joint[i]
        size, entry = _add(end, pose, graph, frontier, size, entry)


@jit
def _flood(pose, graph, frontier):
    """Gives every joint that is not there the place of its neighbour, the most certain neighbour first."""
    size, entry = _begin(pose, graph, frontier)
    while size > 0:
        directed = int(frontier.heap[0])
        size = _drop_top(frontier, size)
        start, end = graph.ends[directed, 0], graph.ends[directed, 1]
        if pose[end, 0] > 0:
            continue
        pose[end, 0] = _GUESSED
        for i in range(1, 4):
            pose[end, i] = pose[start, i]
        size, entry = _add(end, pose, graph, frontier, size, entry)


@jit
def grow_poses(seeds, seed_count, graph, connections, rules, frontier, occupied, poses):
    """The number of poses, one from every seed that no earlier pose occupies, at most len(poses).

    occupied: u8 [K,H/2+1,W/2+1], all zeros, before and after. poses: f64 [P,K,4] out: score, x px, y px, scale px.
    """
    count = marked = 0
    for i in range(seed_count):
        seed = seeds.values[seeds.order[i]]
        part = int(seed[1])
        if is_occupied(occupied[part], float(seed[2]), float(seed[3])):
            continue
        if count == poses.shape[0] or marked > MAX_MARKED:
            break
        pose = poses[count]
        pose[:] = 0
        pose[part, 0], pose[part, 1], pose[part, 2], pose[part, 3] = seed[0], seed[2], seed[3], seed[4]
        _grow(pose, graph, connections, rules, frontier)
        for joint in range(pose.shape[0]):
            if pose[joint, 0] > 0:
                marked += mark(occupied[joint], pose[joint, 1], pose[joint, 2], pose[joint, 3], 1)
        count += 1
    free(occupied, poses, count)
    return count


@jit
def complete_poses(poses, count, graph, connections, rules, frontier):
    """Gives each of `count` poses all joints, from weak connections and then from neighbours."""
    for i in range(count):
        _grow(poses[i], graph, connections, rules, frontier)
        _flood(poses[i], graph, frontier)
