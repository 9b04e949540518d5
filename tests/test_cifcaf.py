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
from posert.postprocess.decoders.cifcaf import KERNELS, MAX_POSES, Params, Work, decode, take_work
from posert.postprocess.decoders.cifcaf.caf import MAX_READS, blend
from posert.postprocess.decoders.cifcaf.cif import accumulate, list_intensities, take_maps, take_seeds
from posert.postprocess.decoding import packed

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


def worked(cif: np.ndarray, caf: np.ndarray, skeleton: Skeleton, params: Params = SETTINGS["default"]) -> Work:
    """What the kernels leave behind after one row."""
    (parts, _, h, w), edges, needs = cif.shape, len(skeleton.edges), np.zeros(2, np.int64)
    shapes = np.array([[1, *cif.shape], [1, *caf.shape], [0] * 5, [0] * 5])
    given = shapes, np.array([(w - 1) * STRIDE + 1, (h - 1) * STRIDE + 1, parts]), *packed(skeleton, params)
    assert KERNELS.workspace(*given, needs) == 0
    workspace, none = np.zeros(needs[0], np.uint8), np.zeros(0, np.float32)
    people = np.empty((needs[1], parts, 3), np.float32), np.empty(needs[1], np.float32)
    boxes = np.empty((needs[1], 4), np.float32)
    KERNELS.people(
        cif.reshape(-1), caf.reshape(-1), none, none, *given, workspace, np.zeros(1, np.int64), *people, boxes
    )
    work, end = take_work(workspace, parts, edges, h, w, STRIDE)
    assert end == needs[0]
    return work


@pytest.fixture(scope="module")
def work(original) -> Work:
    return worked(original["cif"], original["caf"], original_skeleton(original))


def original_skeleton(original) -> Skeleton:
    return Skeleton(draw.COCO.names, tuple(map(tuple, original["skeleton0"].tolist())))


def test_the_originals_confidence_maps(original, work) -> None:
    """Two of them, as if every pixel were read. The golden map is float16: half a unit in its last place is 2.4e-4."""
    high, wide = 40 * STRIDE + 1, 54 * STRIDE + 1
    cells, *_ = take_seeds(np.zeros(0, np.uint8), 0, 2 * 41 * 55)
    maps, _ = take_maps(np.zeros(0, np.uint8), 0, 2, high, wide, 1 << 20)
    maps.count[0] = 0
    count = list_intensities(original["cif"][:2].reshape(2, 5, -1), STRIDE, 0.3, 2.0, cells, maps)
    maps.values[:], maps.places[:] = 0, np.arange(1, 1 + len(maps.places))
    accumulate(cells, count, 2, 0.3, 16, maps)
    tiles = maps.values.reshape(2, -(-high // 8), -(-wide // 8), 8, 8)
    hr = tiles.swapaxes(2, 3).reshape(2, 8 * tiles.shape[1], -1)[:, :high, :wide]
    expected = original["cifhr_minus_revision"][:2].astype(np.float32)
    assert np.abs(hr - expected).max() < 3e-4
    assert ((hr > 0) == (expected > 0)).mean() > 0.9999  # the original's own buffer rounds at 1e-5


def test_the_originals_seeds(original, work) -> None:
    found = len(original["seeds_f"])
    got = work.seeds.values[work.seeds.order[:found]]
    assert got[:, 1].tolist() == original["seeds_f"].tolist()
    assert got[:, [0, 2, 3, 4]] == pytest.approx(original["seeds_vxys"], abs=1e-4)
    assert (work.seeds.values[found:] == 0).all()


@pytest.mark.parametrize("side", ["fwd", "bwd"])
def test_the_originals_connections(original, work, side: str) -> None:
    table, counts, rows = work.connections, original[f"caf_{side}_counts"], original[f"caf_{side}"]
    assert table.starts[-1, -1] == original["caf_fwd_counts"].sum() + original["caf_bwd_counts"].sum()
    for edge, expected in enumerate(np.split(rows, np.cumsum(counts)[:-1])):
        starts = table.starts[2 * edge + (side == "bwd")]
        order = np.argsort(table.places[starts[0] : starts[-1]])
        got = table.values[starts[0] : starts[-1]][order]
        assert got == pytest.approx(expected, abs=1e-4), f"edge {edge}"


def test_a_bucket_holds_what_lies_in_it(work) -> None:
    table = work.connections
    for starts in table.starts:
        for bucket in range(table.wide * table.high):
            for _, x, y, *_ in table.values[starts[bucket] : starts[bucket + 1]]:
                place = [min(max(int(v * table.per_px), 0), n - 1) for v, n in ((x, table.wide), (y, table.high))]
                assert bucket == place[1] * table.wide + place[0]


def test_the_originals_targets(original, work) -> None:
    """Probes: x, y, scale and score of the target of every edge's middle connection, from its own source."""
    table = work.connections
    for edge, expected in enumerate(original["blend_probe_xysv"]):
        starts = table.starts[2 * edge]
        middle = np.argsort(table.places[starts[0] : starts[-1]])[(starts[-1] - starts[0]) // 2]
        row = table.values[starts[0] + middle]
        v, x, y, s = blend(table, 2 * edge, float(row[1]), float(row[2]), float(row[5]), 1.0)
        assert (x, y, s, v) == pytest.approx(expected, abs=1e-4), f"edge {edge}"


@pytest.mark.parametrize("name", SETTINGS)
def test_the_originals_people(original, name: str) -> None:
    """Same people, same order; places within 1e-3 px, scores within 1e-4 (measured: 3e-5 px, 2e-7)."""
    poses, people = (
        run(original["cif"], original["caf"], original_skeleton(original), SETTINGS[name]),
        original[f"ann_{name}"],
    )
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
    assert worked(cif, caf, draw.COCO, SETTINGS[name]).connections.reads[0] <= MAX_READS + 1 + 81 * 81


@pytest.mark.skipif(not COMPILED, reason="the workspace is the same, and plain Python takes minutes")
def test_the_same_fields_give_the_same_bits(original) -> None:
    """Whatever came before: the original's buffers grow old over a long video, ours are zeroed."""
    rng = np.random.default_rng(0)
    other = rng.random((17, 5, 41, 55), np.float32) * 5, rng.random((19, 8, 41, 55), np.float32) * 5
    first = run(original["cif"], original["caf"], draw.COCO)
    for turn in range(200):
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
    """Another thread takes a step every millisecond; under the lock it could only between two rows."""
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
        ((1, 4, 5, 4, 4), (1, 4, 8, 4, 4), (25, 25), r"cif \[1, 4, 5, 4, 4\].*: cif must be \[R,K,5,h,w\]"),
        ((1, 5, 5, 4, 4), (1, 4, 9, 4, 4), (25, 25), r"caf \[1, 4, 9, 4, 4\]: caf must be \[R,L,8,h,w\]"),
        ((2, 5, 5, 4, 4), (1, 4, 8, 4, 4), (25, 25), "caf must be"),
        ((1, 5, 5, 4, 4), (1, 4, 8, 4, 4), (25, 49), "the cells must fit the network input"),
        ((1, 5, 5, 1, 16385), (1, 4, 8, 1, 16385), (131073, 1), "too large"),
    ],
)
def test_fields_that_do_not_fit(cif: tuple, caf: tuple, input_wh: tuple, message: str) -> None:
    with pytest.raises(PosertError, match=message):
        decode({"cif": np.zeros(cif), "caf": np.zeros(caf)}, draw.STAR, Params(), input_wh)


def test_an_edge_beyond_the_keypoints() -> None:
    skeleton = Skeleton(("a", "b"), ((0, 2),))
    with pytest.raises(PosertError, match="must join two of its keypoints"):
        run(np.zeros((2, 5, 3, 3), np.float32), np.zeros((1, 8, 3, 3), np.float32), skeleton)


@pytest.mark.parametrize(
    "wrong", [{"seed_threshold": -0.1}, {"caf_threshold": 2}, {"cif_threshold": None}, {"cif_neighbors": 0}]
)
def test_params_are_checked(wrong: dict) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        Params(**wrong)
