"""The decoder `bodyparts`: the original's peaks and people, the slow twin's people, and hostile maps."""

import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import fields
import naive_cmu
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posert.errors import PosertError
from posert.poses import Poses, Skeleton
from posert.postprocess import decoder_params
from posert.postprocess.decoders.bodyparts import KERNELS, Params, decode, merge
from posert.postprocess.decoders.bodyparts.work import Work, layout
from posert.postprocess.decoders.paf import COCO_18_CHANNELS
from posert.postprocess.decoding import packed
from posert.postprocess.geometry import to_frame
from posert.postprocess.kernels import resample

BODY_25 = Skeleton(
    tuple(f"part_{k}" for k in range(25)),
    (
        (1, 8), (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (9, 10), (10, 11), (8, 12), (12, 13), (13, 14),
        (1, 0), (0, 15), (15, 17), (0, 16), (16, 18), (2, 17), (5, 18), (14, 19), (19, 20), (14, 21), (11, 22),
        (22, 23), (11, 24),
    ),
)  # fmt: skip
COCO = Params(paf_channels=COCO_18_CHANNELS, redundant_edges=(17, 18), foot_parts=())
CPU = {"interpolation": "cubic", "peak_rule": "ring"}
COMPILED = os.environ.get("NUMBA_DISABLE_JIT") != "1"
big = pytest.mark.skipif(not COMPILED, reason="minutes without the compiler; the small maps run the same lines")


def run(heat: np.ndarray, pafs: np.ndarray, params: Params = COCO, skeleton: Skeleton = fields.BODY_18) -> Poses:
    input_wh = (heat.shape[2] * 8, heat.shape[1] * 8)
    (poses,) = decode({"heatmaps": heat[None], "pafs": pafs[None]}, skeleton, params, input_wh)
    return poses


def worked(heat: np.ndarray, pafs: np.ndarray, params: Params, skeleton: Skeleton, input_wh: tuple[int, int]) -> Work:
    """The workspace after maps were decoded."""
    shapes, needs, parts = np.zeros((4, 5), np.int64), np.zeros(2, np.int64), len(skeleton.names)
    shapes[:2, :4] = (1, *heat.shape), (1, *pafs.shape)
    given = shapes, np.array([*input_wh, parts]), *packed(skeleton, params)
    assert KERNELS.workspace(*given, needs) == 0
    workspace, most, none = np.zeros(needs[0], np.uint8), int(needs[1]), np.zeros(0, np.float32)
    people = np.zeros((most, parts, 3), np.float32), np.zeros(most, np.float32), np.zeros((most, 4), np.float32)
    KERNELS.people(heat.ravel(), pafs.ravel(), none, none, *given, workspace, np.zeros(1, np.int64), *people)
    return layout(workspace, *heat.shape[1:], *input_wh[::-1], parts, len(skeleton.edges), params.max_peaks)


def taps_of(length: int, size: int, rule: int) -> resample.Taps:
    taps, _ = resample.take_taps(np.zeros(0, np.uint8), 0, length, size, 1)
    resample.fill_taps(rule, length, np.ones(1), np.zeros(length), taps)
    return taps._replace(width=int(taps.found[0]))


@pytest.fixture(scope="module")
def original(golden: Path):
    return np.load(golden / "cmu_openpose.npz")


MODELS = {"body25": (BODY_25, Params()), "coco18": (fields.BODY_18, COCO)}


def _maps(original, model: str) -> tuple[np.ndarray, np.ndarray, float]:
    maps, parts = original[f"{model}_net_out"], len(MODELS[model][0].names)
    return maps[: parts + 1], maps[parts + 1 :], float(original[f"{model}_scale_net_to_output"])


@big
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("maximize", ["", "_maxpos"])
def test_the_originals_peaks(original, model: str, maximize: str) -> None:
    heat, pafs, scale = _maps(original, model)
    skeleton, params = MODELS[model]
    params = replace(params, maximize_positives=bool(maximize), offset_px=0.5 / scale, **CPU)
    work = worked(heat, pafs, params, skeleton, (432, 368))
    got = np.array([(k, *peak) for k in range(len(work.counts)) for peak in work.peaks[k, : work.counts[k]]])
    expected = original[f"{model}_peaks{maximize}_npxys"]
    assert got[:, 0].tolist() == expected[:, 0].tolist()
    assert got[:, 1:3] == pytest.approx(expected[:, 1:3], abs=1e-3)
    assert got[:, 3] == pytest.approx(expected[:, 3], abs=1e-4)


@big
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("tag", "assembly"), [("cpu", "pairwise"), ("gpu", "global_sort")])
@pytest.mark.parametrize("maximize", ["", "_maxpos"])
def test_the_originals_people(original, model: str, tag: str, assembly: str, maximize: str) -> None:
    """In its order, in pixels of its picture, which is `scale` times the input's and half a pixel further."""
    heat, pafs, scale = _maps(original, model)
    skeleton, params = MODELS[model]
    params = replace(
        params, assembly=assembly, maximize_positives=bool(maximize), offset_px=0.5 / scale, **CPU
    )  # fmt: skip
    poses = to_frame(run(heat, pafs, params, skeleton), (0, 0, 432 * scale, 368 * scale), (432, 368))
    expected = original[f"{model}_{tag}assembly{maximize}_keypoints"]
    assert poses.keypoints.shape == expected.shape
    assert (poses.keypoints[:, :, 2] != 0).tolist() == (expected[:, :, 2] != 0).tolist()
    assert np.abs(poses.keypoints - expected)[:, :, :2].max() <= 1e-3
    assert np.abs(poses.keypoints - expected)[:, :, 2].max() <= 1e-4
    assert np.abs(poses.scores - original[f"{model}_{tag}assembly{maximize}_scores"]).max() <= 1e-4


@pytest.mark.parametrize("rule", ["cubic", "keys"])
@pytest.mark.parametrize("size_hw", [(12, 17), (7, 5), (1, 1), (2, 30)])
def test_upsampling_at_points_is_the_upsampled_map(rule: str, size_hw: tuple[int, int]) -> None:
    field = np.random.default_rng(0).normal(size=size_hw).astype(np.float32)
    high, wide = size_hw[0] * 8, size_hw[1] * 8
    y, x = (taps_of(n, n * 8, {"cubic": resample.CUBIC, "keys": resample.KEYS}[rule]) for n in size_hw)
    got = np.array([[resample.value_at(field, j, i, y, x, np.float32(1)) for i in range(wide)] for j in range(high)])
    expected = naive_cmu.upsample(field, wide, high, rule)
    assert got == pytest.approx(expected, abs=3e-6)
    dense, across = np.empty((high, wide), np.float32), np.empty((size_hw[0], wide), np.float32)
    resample.upsample(field, y, x, across, dense)
    assert dense.tobytes() == got.astype(np.float32).tobytes()


def test_the_cuda_kernel_is_not_symmetric_at_the_first_and_last_cell() -> None:
    """Left of the first cell's centre the fraction is below 0; right of the last one's nothing is clamped."""
    line = np.random.default_rng(0).normal(size=6).astype(np.float32)

    def sampled(cells: np.ndarray) -> np.ndarray:
        first, weight, width, _ = taps_of(6, 48, resample.KEYS)
        return (weight[:, :width] * cells[first[:, None] + np.arange(width)]).sum(axis=1)

    apart = np.abs(sampled(line) - sampled(line[::-1].copy())[::-1]) > 1e-5
    assert np.nonzero(apart)[0].tolist() == [0, 1, 2, 3, 44, 45, 46, 47]


SMALL = [
    COCO,
    replace(COCO, **CPU),
    replace(COCO, assembly="pairwise", **CPU),
    replace(COCO, assembly="pairwise", maximize_positives=True),
    replace(COCO, foot_parts=(10, 13), limb_ratio=0.5, offset_px=0.3),
]


@settings(max_examples=10 if COMPILED else 1, deadline=None)
@given(seed=st.integers(0, 999), count=st.integers(0, 4), which=st.sampled_from(SMALL), noise=st.floats(0, 0.04))
def test_the_slow_twin_agrees(seed: int, count: int, which: Params, noise: float) -> None:
    heat, pafs = fields.maps(fields.people(count, 26, 20, seed), 26, 20)
    rng = np.random.default_rng(seed)
    noise *= 0.25 if which.maximize_positives else 1  # else every other sample is a peak, and the twin slow
    heat = (heat + rng.normal(0, noise, heat.shape)).astype(np.float32)
    pafs = (pafs + rng.normal(0, noise, pafs.shape)).astype(np.float32)
    poses = run(heat, pafs, which)
    low = {"peak_threshold": 0.02, "limb_threshold": 0.01, "limb_ratio": 0.75}
    low |= {"min_parts": 2, "min_score": 0.05, "foot_parts": ()}
    twin = replace(which, **low) if which.maximize_positives else which
    keypoints, scores = naive_cmu.decode(heat, pafs, fields.BODY_18, twin, (26 * 8, 20 * 8))
    assert len(poses) == len(scores)
    assert poses.keypoints == pytest.approx(keypoints, abs=1e-3)
    assert poses.scores == pytest.approx(scores, abs=1e-4)


@settings(max_examples=6 if COMPILED else 1, deadline=None)
@given(seed=st.integers(0, 999), rule=st.sampled_from(["cubic", "keys"]))
def test_several_scales_are_averaged_as_by_the_slow_twin(seed: int, rule: str) -> None:
    """The same people seen at 1, .8 and .5 of the input, with noise of their own, in a batch of two rows."""
    rng, wh = np.random.default_rng(seed), (20 * 8, 16 * 8)
    whole = np.concatenate(fields.maps(fields.people(2, 20, 16, seed), 20, 16))
    several = []
    for w, h in ((20, 16), (16, 13), (10, 8)):
        small = np.stack([cv2.resize(field, (w, h), interpolation=cv2.INTER_AREA) for field in whole])
        several.append(small + rng.normal(0, 0.01, small.shape).astype(np.float32))
    params = replace(COCO, interpolation=rule)
    rows = [{"heatmaps": np.stack([m[:19], m[:19] * 0]), "pafs": np.stack([m[19:], m[19:] * 0])} for m in several]
    merged = merge(rows, params, wh)
    expected = naive_cmu.averaged(several, *wh, rule)
    assert merged["heatmaps"][0] == pytest.approx(expected[:19], abs=3e-6)
    assert merged["pafs"][0] == pytest.approx(expected[19:], abs=3e-6)
    found, empty = decode(merged, fields.BODY_18, params, wh)
    keypoints, scores = naive_cmu.decode(expected[:19], expected[19:], fields.BODY_18, params, wh)
    assert len(found) == len(scores) > 0
    assert not len(empty)
    assert found.keypoints == pytest.approx(keypoints, abs=1e-3)
    assert found.scores == pytest.approx(scores, abs=1e-4)


def test_one_scale_merged_is_the_map_up_sampled_and_no_number_stays_where_it_was() -> None:
    heat, pafs = fields.maps(fields.people(1, 20, 16), 20, 16)
    plain = run(heat, pafs, COCO)
    merged = merge([{"heatmaps": heat[None], "pafs": pafs[None]}] * 2, COCO, (160, 128))
    (again,) = decode(merged, fields.BODY_18, COCO, (160, 128))
    assert again.keypoints == pytest.approx(plain.keypoints, abs=1e-3)
    heat[0, 0, 0] = np.nan
    grid = merge([{"heatmaps": heat[None], "pafs": pafs[None]}], COCO, (160, 128))["heatmaps"][0, 0]
    assert np.isnan(grid[:16, :16]).any()
    assert np.isfinite(grid[20:, 20:]).all()


@big
@pytest.mark.parametrize("assembly", ["global_sort", "pairwise"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_drawn_people_are_found_where_they_are(assembly: str, count: int) -> None:
    truth = fields.people(count, 60, 46)
    poses = run(*fields.maps(truth, 60, 46), replace(COCO, assembly=assembly))
    assert len(poses) == count
    for person in truth:  # cell i covers input px 8i..8i+8
        distance = np.abs(poses.keypoints[:, :, :2] - (person * 8 + 4)).max(axis=2)
        assert (distance.max(axis=1) < 3).sum() == 1


@big
def test_feet_alone_are_nobody_unless_there_is_nobody_else() -> None:
    """Two legs without a body count once everybody else is gone: OpenPose repeats its filter without the foot rule."""
    heat, pafs = fields.maps(fields.people(1, 40, 40), 40, 40)
    legs = [8, 9, 10]
    gone = [part for part in range(19) if part not in legs]
    heat[gone] = 0
    params = replace(COCO, foot_parts=(10,), min_score=0.1)
    assert len(run(heat, pafs, params)) == 1
    both = fields.maps(fields.people(2, 80, 40), 80, 40)
    both[0][gone, :, :40] = 0
    assert len(run(*both, params)) == 1
    assert len(run(*both, replace(params, foot_parts=()))) == 2


@big
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["heat", "pafs", "everything"])
@pytest.mark.parametrize("assembly", ["global_sort", "pairwise"])
def test_values_that_are_no_numbers(bad: float, where: str, assembly: str) -> None:
    heat, pafs = fields.maps(fields.people(2, 40, 30), 40, 30)
    rng = np.random.default_rng(0)
    for field in {"heat": [heat], "pafs": [pafs], "everything": [heat, pafs]}[where]:
        field[rng.random(field.shape) < (0.9 if where == "everything" else 0.02)] = bad
    for params in (COCO, replace(COCO, maximize_positives=True, **CPU)):
        poses = run(heat, pafs, replace(params, assembly=assembly))
        assert np.isfinite(poses.keypoints).all()
        assert np.isfinite(poses.scores).all()
        assert np.isfinite(poses.boxes_xyxy).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_peak_beside_no_numbers_has_a_place(bad: float) -> None:
    """Its 7 x 7 window reaches into them; one part alone is a person here, so that nothing else can drop it."""
    rng = np.random.default_rng(0)
    heat, pafs = np.zeros((19, 12, 12), np.float32), np.zeros((38, 12, 12), np.float32)
    heat[0] = rng.uniform(0, 1, (12, 12))
    heat[0][rng.random((12, 12)) < 0.04] = bad
    poses = run(heat, pafs, replace(COCO, assembly="pairwise", min_parts=1, min_score=0.0))
    assert len(poses) > 5
    assert np.isfinite(poses.keypoints).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (2, 3)])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_smallest_maps(size: tuple[int, int], level: float) -> None:
    heat, pafs = np.full((19, *size), level, np.float32), np.full((38, *size), level, np.float32)
    for params in SMALL:
        assert np.isfinite(run(heat, pafs, params).keypoints).all()


def worst(assembly: str) -> tuple[np.ndarray, np.ndarray, Params]:
    """Noise with 127 peaks of every part, and parameters for which one sample with a pair makes it a limb."""
    rng = np.random.default_rng(0)
    heat, pafs = rng.uniform(0, 1, (26, 46, 82)), rng.normal(0, 5, (52, 46, 82))
    return heat.astype(np.float32), pafs.astype(np.float32), Params(assembly=assembly, limb_ratio=0.0, min_score=-1.0)


@pytest.mark.skipif(not COMPILED, reason="a bound on time means nothing without the compiler")
@pytest.mark.parametrize("assembly", ["global_sort", "pairwise"])
def test_the_worst_maps_take_bounded_time_and_memory(assembly: str) -> None:
    """Nearly all of 26 x 127 x 127 pairs are sorted, and there are no more people than peaks allow.

    24 bytes for each pair, and a few grids; all 78 maps up-sampled would be 75 MB.
    """
    heat, pafs, params = worst(assembly)
    work = worked(heat, pafs, params, BODY_25, (656, 368))
    assert work.starts[-1] > 0.9 * 26 * 127**2
    assert 10e6 < work.end < 20e6
    began = time.process_time()
    poses = run(heat, pafs, params, BODY_25)
    assert time.process_time() - began < 5  # 0.3 s when written
    assert 0 < len(poses) <= 127 * 26
    assert (poses.keypoints[:, :, 2] > 0).any(axis=0).all()


@big
def test_at_most_127_peaks_the_first_ones() -> None:
    heat = np.random.default_rng(0).uniform(0, 1, (19, 46, 82)).astype(np.float32)
    work = worked(heat, np.zeros((38, 46, 82), np.float32), COCO, fields.BODY_18, (656, 368))
    assert work.counts[0] == 127
    assert work.peaks[0, :, 1].max() < 100  # of 368: the map has several times as many


@big
def test_the_same_maps_give_the_same_bits(original) -> None:
    heat, pafs, _ = _maps(original, "body25")
    first = run(heat, pafs, Params(), BODY_25)
    for _ in range(10):
        again = run(heat, pafs, Params(), BODY_25)
        assert again.keypoints.tobytes() == first.keypoints.tobytes()
        assert again.scores.tobytes() == first.scores.tobytes()


@big
def test_rows_of_a_batch_are_decoded_one_by_one(original) -> None:
    heat, pafs, _ = _maps(original, "coco18")
    stacked = {"heatmaps": np.stack([heat * 0, heat]), "pafs": np.stack([pafs * 0, pafs])}
    assert [len(row) for row in decode(stacked, fields.BODY_18, COCO, (432, 368))] == [0, 5]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"heat": (1, 17, 4, 4)}, r"heatmaps must be \[R,>=K,h,w\]"),
        ({"pafs": (1, 30, 4, 4)}, "with the channels of paf_channels"),
        ({"pafs": (1, 38, 4, 5)}, "as large as heatmaps"),
        ({"params": replace(COCO, paf_channels=((0, 1),))}, "a pair of channels for each"),
        ({"params": replace(COCO, paf_channels=((-1, 1), *COCO_18_CHANNELS[1:]))}, "with the channels of paf_channels"),
        ({"params": Params(paf_channels=COCO_18_CHANNELS)}, "foot_parts must be among the skeleton's keypoints"),
        ({"params": replace(COCO, foot_parts=(-1,))}, "foot_parts must be among the skeleton's keypoints"),
        ({"input_wh": (32, 0)}, "the network's input are empty"),
        ({"input_wh": (1 << 14, 1 << 15)}, "too large"),
    ],
)
def test_maps_that_do_not_fit(wrong: dict, message: str) -> None:
    given = {"heat": (1, 19, 4, 4), "pafs": (1, 38, 4, 4), "params": COCO, "input_wh": (32, 32), **wrong}
    outputs = {"heatmaps": np.zeros(given["heat"]), "pafs": np.zeros(given["pafs"])}
    with pytest.raises(PosertError, match=message):
        decode(outputs, fields.BODY_18, given["params"], given["input_wh"])


def test_params_from_metadata_are_the_same_params() -> None:
    """JSON has no tuples."""
    values = json.loads(json.dumps(asdict(COCO)))
    assert decoder_params("bodyparts", values) == COCO
    assert hash(decoder_params("bodyparts", values)) == hash(COCO)


@pytest.mark.parametrize(
    "wrong",
    [{"interpolation": "area"}, {"assembly": "x"}, {"peak_rule": "x"}, {"limb_ratio": 1.0}, {"max_peaks": 10**6}],
)
def test_params_are_checked(wrong: dict) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        Params(**wrong)
