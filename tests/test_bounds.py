"""Whatever a network gives, a picture takes bounded time and memory: the strongest candidates count, up to a number.

How long the worst takes is measured by `tests/bench/heavy.py`; here is what makes it so.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posert.poses import Poses, Skeleton
from posert.postprocess import decoder, decoding
from posert.postprocess.decoders import detect, direct
from posert.postprocess.decoding import packed
from posert.postprocess.kernels.sort import least_of_strongest
from posert.postprocess.part_maps import peaks_each
from posert.postprocess.suppression import oks
from posert.postprocess.suppression import poses as pose_rule

NOBODY = Skeleton((), ())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(0, 12))
def test_the_strongest_and_their_slow_twin(seed: int, most: int, least: int) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.integers(-3, 12, (5, 6)) / np.float32(8)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = rng.choice([np.nan, np.inf, 1e-45, 3e38])
    low = np.float32(least / 8)
    limit = least_of_strongest(values, low, most)
    reach = values[values >= low]
    fits = [one for one in (low, *np.unique(reach)) if (reach >= one).sum() <= most]
    expected = reach[reach >= fits[0]] if fits else reach[:0]
    assert np.array_equal(np.sort(values[values >= limit]), np.sort(expected))


def rows(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    grid = rng.normal(0, 1, (1, 84, 6)).astype(np.float32)
    grid[..., 4:] = rng.integers(4, 9, (1, 84, 2)) / 8
    return grid


@pytest.mark.parametrize("heads", [False, True])
@pytest.mark.parametrize("most", [1, 9, 40, 16384])
def test_so_many_boxes_are_compared(most: int, heads: bool) -> None:
    """As if there had been no others."""
    grid = rows(most)
    if heads:
        rng = np.random.default_rng(most)
        outputs = {f"head{s}": rng.normal(0, 2, (1, 18, 64 // s, 64 // s)).astype(np.float32) for s in (8, 16, 32)}
        scores = np.concatenate([outputs[name].reshape(3, 6, -1)[:, 4].ravel() for name in outputs])
        scores = 1 / (1 + np.exp(-scores))
    else:
        outputs, scores = {"grid_rows": grid}, grid[0, :, 4] * grid[0, :, 5]
    many = detect.decode(outputs, NOBODY, detect.Params(classes=1, max_iou=1.0, crowd_max_iou=1.0), (64, 64))[0]
    kept = detect.decode(outputs, NOBODY, detect.Params(0.1, 1.0, 100, 1.0, 1, 0, most), (64, 64))[0]
    strong = np.sort(scores[scores > 0.1])[::-1]
    allowed = next(
        (n for n in range(min(most, len(strong)), -1, -1) if n in (0, len(strong)) or strong[n - 1] > strong[n]), 0
    )
    assert len(kept) == allowed <= most
    assert kept.boxes_xyxy.tobytes() == many.boxes_xyxy[:allowed].tobytes()


def test_so_many_rows_are_people() -> None:
    people = np.random.default_rng(0).uniform(0.2, 1, (2, 30, 3 * 4 + 5)).astype(np.float32)
    bones = Skeleton(("a", "b", "c", "d"), ())
    for row, kept in enumerate(direct.decode({"people": people}, bones, direct.Params(max_people=7), (64, 64))):
        strongest = np.sort(people[row, :, -1])[-7:]
        assert sorted(kept.scores.tolist()) == strongest.tolist()


def test_so_many_people_are_compared() -> None:
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(0.4, 1, (20, 5, 3)).astype(np.float32)
    keypoints[:, :, :2] += 100 * np.arange(20)[:, None, None]
    poses = Poses(keypoints, np.ones(20, np.float32), np.tile(np.float32([0, 0, 50, 50]), (20, 1)))
    strongest = np.argsort(-keypoints[:, :, 2].mean(1))[:6]
    for rule in (oks, pose_rule):
        kept = rule.suppress(poses, poses, rule.Params(max_people=6))
        assert len(rule.suppress(poses, poses, rule.Params())) == 20
        assert sorted(kept.keypoints[:, 0, 0].tolist()) == pytest.approx(sorted(keypoints[strongest, 0, 0].tolist()))


def test_hundreds_of_edges_have_fewer_peaks_each() -> None:
    assert peaks_each(128, 19, 20) == peaks_each(128, 200, 20) == 128
    assert peaks_each(512, 19, 20) > 400
    few = peaks_each(128, 5000, 20)
    assert 1 < few < 128
    assert 5000 * few * few * 20 <= 1 << 26 < 5000 * (few + 1) ** 2 * 20
    assert peaks_each(512, 1 << 20, 200) == 1


def needed(name: str, bones: Skeleton, input_wh: tuple[int, int], shapes: list[tuple[int, ...]], **params) -> int:
    """Bytes of the workspace."""
    kernels, sides, needs = decoder(name).KERNELS, np.zeros((4, 5), np.int64), np.zeros(2, np.int64)
    for place, shape in zip(sides, shapes, strict=False):
        place[: len(shape)] = shape
    size = np.array([*input_wh, len(bones.names)])
    assert kernels.workspace(sides, size, *packed(bones, decoder(name).Params(**params)), needs) == 0
    return int(needs[0])


def test_five_thousand_edges_need_little_memory() -> None:
    """1.6 GB before, so that it was refused."""
    bones = Skeleton(tuple(f"k{i}" for i in range(102)), tuple((i % 102, (i + 1) % 102) for i in range(5000)))
    given = {"paf_channels": ((0, 1),) * 5000, "redundant_edges": (), "foot_parts": ()}
    assert needed("bodyparts", bones, (656, 368), [(1, 102, 46, 82), (1, 2, 46, 82)], **given) < 2e8


def test_a_stride_of_64_needs_memory_for_the_cells_not_for_the_pixels() -> None:
    """1.3 GB before: every pixel of 17 maps of 4097 x 4097."""
    bones = Skeleton(tuple(f"k{i}" for i in range(17)), tuple((i % 17, (i + 1) % 17) for i in range(19)))
    assert needed("cifcaf", bones, (4097, 4097), [(1, 17, 5, 65, 65), (1, 19, 8, 65, 65)]) < 2e8


def test_more_cells_than_count_and_the_strongest_of_them() -> None:
    """One person, and a million and more cells of noise around it, in maps that alone would be too many."""
    side, parts = 600, 6
    bones = Skeleton(tuple(f"k{i}" for i in range(parts)), tuple((i, i + 1) for i in range(parts - 1)))
    cif, caf = np.zeros((1, parts, 5, side, side), np.float32), np.zeros((1, parts - 1, 8, side, side), np.float32)
    cif[:, :, 1], caf[:, :, 1] = 0.31, 0.31  # more than the thresholds of .3
    y, x = np.mgrid[:side, :side].astype(np.float32)
    cif[:, :, 2], cif[:, :, 3], caf[:, :, 2::2], caf[:, :, 3::2] = x, y, x, y
    for k in range(parts):
        at = np.s_[0, k, :, 48:53, 48 + 20 * k : 53 + 20 * k]
        cif[at][1:] = np.float32([0.9, 50 + 20 * k, 50, 2])[:, None, None]
        if k < parts - 1:
            caf[at][1:] = np.float32([0.9, 50 + 20 * k, 50, 70 + 20 * k, 50, 2, 2])[:, None, None]
    params = decoder("cifcaf").Params()
    (found,) = decoder("cifcaf").decode({"cif": cif, "caf": caf}, bones, params, (side, side))
    assert len(found) == 1
    assert found.keypoints[0, :, 0] == pytest.approx([50 + 20 * k for k in range(parts)], abs=1)


def test_rows_take_the_threads_that_they_are_given() -> None:
    """The option `threads` once was that of the network alone."""
    made, bones = decoder("cifcaf"), Skeleton(("a", "b"), ((0, 1),))
    outputs = {"cif": np.zeros((9, 2, 5, 3, 3), np.float32), "caf": np.zeros((9, 1, 8, 3, 3), np.float32)}

    def new_threads(count: int) -> int:
        before = set(threading.enumerate())
        assert len(made.decode(outputs, bones, made.Params(), (17, 17), count)) == 9
        return len(set(threading.enumerate()) - before)

    assert new_threads(1) == 0
    assert 1 <= new_threads(3) <= 3


def test_only_small_workspaces_are_kept() -> None:
    """Each thread once kept the last four, however large."""
    made, bones = decoder("cifcaf"), Skeleton(tuple("abcdefgh"), ((0, 1),))
    sizes = [9, 11, 13, 15, 17, 500, 501]

    def kept() -> list[int]:
        found = []
        for side in sizes:
            outputs = {"cif": np.zeros((1, 8, 5, side, side)), "caf": np.zeros((1, 1, 8, side, side))}
            made.decode(outputs, bones, made.Params(), (8 * side - 7, 8 * side - 7))
            found.append(sum(bench[1].nbytes for bench in decoding._KEEPING._kept.values()))
        return found

    with ThreadPoolExecutor(1) as own:
        bytes_kept = own.submit(kept).result()
    assert len(set(bytes_kept[3:5])) == 2  # the first has gone
    alone = needed("cifcaf", bones, (4001, 4001), [(1, 8, 5, 501, 501), (1, 1, 8, 501, 501)])
    assert bytes_kept[-1] == alone > 1 << 27
