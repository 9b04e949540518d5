"""The decoder `cifcaf`: the original's people stage by stage, the slow twin's people, any skeleton, hostile fields."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import composite_fields as draw
import naive_cifcaf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posert.errors import PosertError
from posert.poses import Poses, Skeleton
from posert.postprocess.decoders import cifcaf
from posert.postprocess.decoders.cifcaf import (
    MAX_POSES,
    Params,
    _fill_maps,
    _score_connections,
    _Workspace,
    caf,
    cif,
    decode,
)

COMPILED = os.environ.get("NUMBA_DISABLE_JIT") != "1"
STRIDE = 8
SETTINGS = {
    "default": Params(),
    "seed0.5": Params(seed_threshold=0.5),
    "greedy": Params(greedy=True),
    "no_reverse_match": Params(reverse_match=False),
    "force_complete": Params(force_complete_pose=True),
}


def run(cif: np.ndarray, caf: np.ndarray, skeleton: Skeleton, params: Params = SETTINGS["default"]) -> Poses:
    input_wh = ((cif.shape[3] - 1) * STRIDE + 1, (cif.shape[2] - 1) * STRIDE + 1)
    (poses,) = decode({"cif": cif[None], "caf": caf[None]}, skeleton, params, input_wh)
    return poses


def same_as_twin(cif: np.ndarray, caf: np.ndarray, skeleton: Skeleton, params: Params) -> int:
    """How many people both found, in the same order and at the same places."""
    poses, expected = run(cif, caf, skeleton, params), naive_cifcaf.decode(cif, caf, skeleton, params, STRIDE)
    assert len(poses) == len(expected)
    assert poses.keypoints[:, :, 2] == pytest.approx(expected[:, :, 0], abs=1e-5)
    found = expected[:, :, 0] > 0
    assert poses.keypoints[found][:, :2] == pytest.approx(expected[found][:, 1:3], abs=1e-3)
    return len(poses)


@pytest.fixture(scope="module")
def original(golden: Path):
    return np.load(golden / "pifpaf.npz")


@pytest.fixture(scope="module")
def stages(original):
    """The kernels' own intermediate results for the original's fields."""
    work = _Workspace((41, 55), STRIDE, 17, tuple(map(tuple, original["skeleton0"].tolist())))
    cells = _fill_maps(original["cif"], original["caf"], Params(), work)
    seeds = cif.find_seeds(*work.cells, cells, 0.2, work.maps[0], work.seeds, *work.sorting)
    return work, seeds, _score_connections(0.3, work)


def test_the_originals_confidence_maps(original) -> None:
    """All of them, as if every pixel were read. The golden map is float16: half a unit in its last place is 2.4e-4."""
    work = _Workspace((41, 55), STRIDE, 17, tuple(map(tuple, original["skeleton0"].tolist())))
    _, high, wide = work.size
    cells = cif.list_intensities(original["cif"].reshape(17, 5, -1), *work.size, 0.3, 2.0, *work.cells, *work.maps)
    work.maps[1][:] = 1
    cif.accumulate(work.cells[0], cells, 0.3, 16, high, wide, *work.maps)
    tiles = work.maps[0].reshape(17, -(-high // 8), -(-wide // 8), 8, 8)
    hr = tiles.swapaxes(2, 3).reshape(17, 8 * tiles.shape[1], -1)[:, :high, :wide]
    expected = original["cifhr_minus_revision"].astype(np.float32)
    assert np.abs(hr - expected).max() < 3e-4
    assert ((hr > 0) == (expected > 0)).mean() > 0.9999  # the original's own buffer rounds at 1e-5


def test_the_originals_seeds(original, stages) -> None:
    work, count, _ = stages
    got = work.seeds[work.order[:count]]
    assert got[:, 1].tolist() == original["seeds_f"].tolist()
    assert got[:, [0, 2, 3, 4]] == pytest.approx(original["seeds_vxys"], abs=1e-4)


@pytest.mark.parametrize("side", ["fwd", "bwd"])
def test_the_originals_connections(original, stages, side: str) -> None:
    work, _, total = stages
    counts, rows = original[f"caf_{side}_counts"], original[f"caf_{side}"]
    assert total == original["caf_fwd_counts"].sum() + original["caf_bwd_counts"].sum()
    for edge, expected in enumerate(np.split(rows, np.cumsum(counts)[:-1])):
        starts = work.starts[2 * edge + (side == "bwd")]
        order = np.argsort(work.places[starts[0] : starts[-1]])
        got = work.connections[starts[0] : starts[-1]][order]
        assert got == pytest.approx(expected, abs=1e-4), f"edge {edge}"


def test_a_bucket_holds_what_lies_in_it(stages) -> None:
    work, _, _ = stages
    size_px, wide, high = work.grid
    for starts in work.starts:
        for bucket in range(wide * high):
            for _, x, y, *_ in work.connections[starts[bucket] : starts[bucket + 1]]:
                place = [min(max(int(v / size_px), 0), n - 1) for v, n in ((x, wide), (y, high))]
                assert bucket == place[1] * wide + place[0]


def test_the_originals_targets(original, stages) -> None:
    """Probes: x, y, scale and score of the target of every edge's middle connection, from its own source."""
    work, _, _ = stages
    table = work.connections, work.places
    grid = (1 / work.grid[0], *work.grid[1:])
    for edge, expected in enumerate(original["blend_probe_xysv"]):
        starts = work.starts[2 * edge]
        middle = np.argsort(work.places[starts[0] : starts[-1]])[(starts[-1] - starts[0]) // 2]
        row = work.connections[starts[0] + middle]
        source = float(row[1]), float(row[2]), float(row[5])
        v, x, y, s = caf.blend(table, starts, grid, *source, 1.0, np.zeros(1, np.int64))
        assert (x, y, s, v) == pytest.approx(expected, abs=1e-4), f"edge {edge}"


@pytest.mark.parametrize("name", SETTINGS)
def test_the_originals_people(original, name: str) -> None:
    """Same people, same order; places within 1e-3 px, scores within 1e-4 (measured: 3e-5 px, 2e-7)."""
    skeleton = Skeleton(draw.COCO.names, tuple(map(tuple, original["skeleton0"].tolist())))
    poses, people = run(original["cif"], original["caf"], skeleton, SETTINGS[name]), original[f"ann_{name}"]
    assert len(poses) == len(people)
    found = people[:, :, 0] > 0
    assert ((poses.keypoints[:, :, 2] > 0) == found).all()
    assert np.abs(poses.keypoints[:, :, 2] - people[:, :, 0]).max() < 1e-4
    assert np.abs(poses.keypoints[found][:, :2] - people[found][:, 1:3]).max() < 1e-3
    weights = np.array([3.0] * 3 + [1.0] * 14) / 23
    assert poses.scores == pytest.approx(-np.sort(-people[:, :, 0], axis=1) @ weights, abs=1e-4)
    for box, person in zip(poses.boxes_xyxy, people, strict=True):
        _, x, y, s = person[person[:, 0] > 0].T
        assert box == pytest.approx([(x - s).min(), (y - s).min(), (x + s).max(), (y + s).max()], abs=1e-3)


@pytest.mark.parametrize("skeleton", [draw.COCO, draw.STAR, draw.chain(133)], ids=["coco", "5", "133"])
@pytest.mark.parametrize("count", [0, 1, 4])
def test_drawn_people_are_found_where_they_are(skeleton: Skeleton, count: int) -> None:
    cells = (60, 45)
    truth = draw.people(count, len(skeleton.names), cells)
    poses = run(*draw.fields(truth, skeleton, cells), skeleton)
    assert len(poses) == count
    for person in truth:
        distance = np.abs(poses.keypoints[:, :, :2] - person * STRIDE).max(axis=2)
        assert (np.median(distance, axis=1) < STRIDE / 2).sum() == 1


CHOICES = [*SETTINGS.values(), Params(seed_threshold=0.1, keypoint_threshold=0.2, caf_threshold=0.1, cif_threshold=0.1)]
FEW = settings(max_examples=25 if COMPILED else 4, deadline=None)


@FEW
@given(
    seed=st.integers(0, 999), count=st.integers(0, 40), noise=st.sampled_from([0.02, 0.3, 1.0]),
    params=st.sampled_from(CHOICES), skeleton=st.sampled_from([draw.STAR, draw.COCO, draw.chain(12)]),
)  # fmt: skip
def test_the_slow_twin_finds_the_same_people(seed, count, noise, params, skeleton) -> None:
    cells = (24, 17)
    truth = draw.people(count, len(skeleton.names), cells, seed)
    same_as_twin(*draw.fields(truth, skeleton, cells, seed, noise), skeleton, params)


@FEW
@given(
    seed=st.integers(0, 999), w=st.integers(1, 7), h=st.integers(1, 6), levels=st.integers(1, 3),
    bad=st.sampled_from([0.0, 0.1, 0.5]), params=st.sampled_from(CHOICES),
)  # fmt: skip
def test_the_slow_twin_agrees_on_noise_and_on_ties(seed, w, h, levels, bad, params) -> None:
    """Few different values, so that almost everything is a tie; some are no numbers."""
    rng = np.random.default_rng(seed)
    cif, caf = rng.random((5, 5, h, w)).astype(np.float32), rng.random((4, 8, h, w)).astype(np.float32)
    for field, places, scales in ((cif, slice(2, 4), slice(4, 5)), (caf, slice(2, 6), slice(6, 8))):
        field[:, 1] = np.ceil(field[:, 1] * levels) / levels
        field[:, places] = np.round(field[:, places] * 2) / 2 * (max(w, h) - 1)
        field[:, scales] = np.ceil(field[:, scales] * levels) * 2
        field[rng.random(field.shape) < bad] = rng.choice([np.nan, np.inf, -np.inf])
    same_as_twin(cif, caf, draw.STAR, params)


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 1e30, -1e30, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("cells", [(1, 1), (1, 9), (9, 1), (12, 9)])
@pytest.mark.parametrize("params", [SETTINGS["default"], SETTINGS["force_complete"]], ids=["default", "force_complete"])
def test_fields_of_one_value(value: float, cells: tuple[int, int], params: Params) -> None:
    cif, caf = np.full((5, 5, *cells), value, np.float32), np.full((4, 8, *cells), value, np.float32)
    poses = run(cif, caf, draw.STAR, params)
    assert all(np.isfinite(array).all() for array in (poses.keypoints, poses.scores, poses.boxes_xyxy))
    if not np.isfinite(value) or value <= 0:
        assert len(poses) == 0
    cif[:, 1:], caf[:, 1:] = np.where(np.isfinite(value), 1.0, value), 1.0
    run(cif, caf, draw.STAR, params)


def hostile(kind: str, skeleton: Skeleton, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Every cell above every threshold."""
    rng = np.random.default_rng(0)
    cif = np.ones((len(skeleton.names), 5, side, side), np.float32)
    caf = np.ones((len(skeleton.edges), 8, side, side), np.float32)
    y, x = np.mgrid[:side, :side]
    cif[:, 2], cif[:, 3], cif[:, 4] = x, y, {"wide": 1e6, "one source": 3.0, "small": 0.1}.get(kind, 1.0)
    if kind == "random":
        cif[:, 2:4], caf[:, 2:6] = rng.uniform(0, side, cif[:, 2:4].shape), rng.uniform(0, side, caf[:, 2:6].shape)
    elif kind != "one source":  # where each connection starts in the same place, and every look-up reads them all
        caf[:, 2], caf[:, 3], caf[:, 4], caf[:, 5] = x, y, x[:, ::-1], y
    caf[:, 6:] = {"wide": 1e6, "one source": 1e6, "small": 0.1}.get(kind, 1.0)
    return cif, caf


@pytest.mark.skipif(not COMPILED, reason="a bound on time means nothing without the compiler")
@pytest.mark.parametrize("kind", ["random", "wide", "small", "one source"])
@pytest.mark.parametrize("name", ["default", "force_complete"])
def test_the_worst_fields_take_bounded_time(kind: str, name: str) -> None:
    """641 px: at most 0.4 s when written; without WORK_PER_PIXEL the wide ones would add 4.6e10 pixels."""
    cif, caf = hostile(kind, draw.COCO, 81)
    run(cif[:, :, :2, :2], caf[:, :, :2, :2], draw.COCO, SETTINGS[name])
    began = time.process_time()
    poses = run(cif, caf, draw.COCO, SETTINGS[name])
    assert len(poses) <= MAX_POSES
    assert time.process_time() - began < 5
    assert cifcaf._idle[-1].visits[0] <= caf.MAX_VISITS + 81 * 81


def test_the_same_fields_give_the_same_bits(original) -> None:
    """Whatever came before: the original's buffers grow old over a long video, ours are zeroed."""
    rng = np.random.default_rng(0)
    other = rng.random((17, 5, 41, 55), np.float32) * 5, rng.random((19, 8, 41, 55), np.float32) * 5
    first = run(original["cif"], original["caf"], draw.COCO)
    for turn in range(200 if COMPILED else 1):
        if turn % 50 == 0:
            run(*other, draw.COCO, SETTINGS["force_complete"])
        again = run(original["cif"], original["caf"], draw.COCO)
        assert again.keypoints.tobytes() == first.keypoints.tobytes()
        assert again.scores.tobytes() == first.scores.tobytes()


def test_rows_of_a_batch_are_decoded_in_their_order() -> None:
    cells = (40, 20)
    rows = [
        draw.fields(draw.people(count, 17, cells, count), draw.COCO, cells, count) for count in (3, 0, 1, 2, 5, 0, 4)
    ]
    outputs = {"cif": np.stack([row[0] for row in rows]), "caf": np.stack([row[1] for row in rows])}
    together = decode(outputs, draw.COCO, Params(), (39 * 8 + 1, 19 * 8 + 1))
    for poses, row in zip(together, rows, strict=True):
        alone = run(*row, draw.COCO)
        assert poses.keypoints.tobytes() == alone.keypoints.tobytes()
    assert [len(poses) for poses in together] == [3, 0, 1, 2, 5, 0, 4]


@pytest.mark.skipif(not COMPILED, reason="plain Python holds the lock")
def test_decoding_leaves_the_interpreter_free() -> None:
    """Another thread takes a step every millisecond; under the lock it could only between two of the five kernels."""
    cif, caf = hostile("random", draw.COCO, 81)
    run(cif[:, :, :2, :2], caf[:, :, :2, :2], draw.COCO)
    steps = 0
    with ThreadPoolExecutor(1) as pool:
        decoding = [pool.submit(run, cif, caf, draw.COCO) for _ in range(3)]
        while not all(one.done() for one in decoding):
            time.sleep(0.001)
            steps += 1
    assert steps > 40


@pytest.mark.parametrize(
    ("cif", "caf", "input_wh", "message"),
    [
        ((1, 4, 5, 4, 4), (1, 4, 8, 4, 4), (25, 25), r"cif \[1, 4, 5, 4, 4\], expected \[R,5,5,h,w\]"),
        ((1, 5, 5, 4, 4), (1, 4, 9, 4, 4), (25, 25), r"caf \[1, 4, 9, 4, 4\], expected \[1, 4, 8, 4, 4\]"),
        ((1, 5, 5, 4, 4), (1, 4, 8, 4, 4), (25, 49), "4x4 cells for an input of 25x49 px"),
    ],
)
def test_fields_that_do_not_fit(cif: tuple, caf: tuple, input_wh: tuple, message: str) -> None:
    with pytest.raises(PosertError, match=message):
        decode({"cif": np.zeros(cif), "caf": np.zeros(caf)}, draw.STAR, Params(), input_wh)


def test_an_edge_beyond_the_keypoints() -> None:
    skeleton = Skeleton(("a", "b"), ((0, 2),))
    with pytest.raises(PosertError, match="edges outside the 2 keypoints"):
        run(np.zeros((2, 5, 3, 3), np.float32), np.zeros((1, 8, 3, 3), np.float32), skeleton)


@pytest.mark.parametrize(
    "wrong", [{"seed_threshold": -0.1}, {"caf_threshold": 2}, {"cif_threshold": None}, {"cif_neighbors": 0}]
)
def test_params_are_checked(wrong: dict) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        Params(**wrong)
