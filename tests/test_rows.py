"""The decoder `rows`: what today's one-shot networks and detectors give, against a slow twin and by hand."""

import naive_rows as naive
import numpy as np
import pytest
import tiny_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from posert.errors import PosertError
from posert.poses import Poses
from posert.postprocess import decoder_params
from posert.postprocess.decoders.rows import Params, decode
from posert.skeletons import COCO_17

Rng = np.random.Generator
PX = 1e-3  # sums of float32 pixels


def some_params(rng: Rng, count: int, wh: tuple[int, int], form: str) -> tuple[Params, int]:
    """Parameters, and how many rows there are."""
    classes, apart = int(rng.integers(1, 4)), form == "apart"
    words = ["box", "objectness", "skip", *(() if apart else ("scores", "label", "keypoints")), "skip"]
    gone = {word for word in ("objectness", "label", "skip") if rng.random() < 0.5}
    gone |= {"box", "objectness"} if count and rng.random() < 0.2 else set()
    words = [str(word) for word in rng.permutation(words) if word not in gone]
    cells = ((32, 2), (16, 1)) if rng.random() < 0.3 else ()
    rows = sum(-(-wh[0] // side) * -(-wh[1] // side) * each for side, each in cells) or int(rng.integers(1, 30))
    given = {
        "columns": words, "box": str(rng.choice(["xyxy", "yxyx", "cxcywh"])), "classes": classes, "cells": cells,
        "unit": "px" if cells or rng.random() < 0.5 else "share", "person": int(rng.integers(0, classes)),
        "keypoint_scores": bool(rng.integers(2)), "sigmoid_scores": bool(rng.integers(2)),
        "sigmoid_keypoints": bool(rng.integers(2)), "min_score": float(rng.choice([0.1, 0.25, 0.5])),
        "max_iou": rng.choice([None, 0.3, 0.7]), "max_people": int(rng.choice([2, 1024])),
    }  # fmt: skip
    return decoder_params("rows", given), rows


def some_shapes(rng: Rng, p: Params, count: int, rows: int, form: str) -> dict[str, tuple[int, ...]]:
    """Shapes of outputs: all in columns, columns first, or what can be apart is."""
    size = count * (2 + p.keypoint_scores)
    widths = {"box": 4, "scores": p.classes, "keypoints": size}
    width = sum(widths.get(word, 1) for word in p.columns)
    shapes: dict[str, tuple[int, ...]] = {"rows": (rows, width)} if width else {}
    if form != "apart":
        return {"rows": (width, rows) if form == "columns" else (rows, width)}
    shapes |= {"scores": (rows, p.classes), "labels": (rows,), "keypoints": (rows, size)}
    if rng.random() < 0.5:
        shapes["scores"] = (p.classes, rows) if p.classes != rows else shapes["scores"]
    elif p.classes == 1:
        shapes["scores"] = (rows,)
    if count and rng.random() < 0.5:
        sets = max(p.person + 1, int(rng.integers(1, 3)))
        shapes["keypoints"] = (rows, count * sets, int(rng.integers(2 + p.keypoint_scores, 6)))
    return shapes


def assert_people(found: Poses, expected: list[tuple]) -> None:
    assert len(found) == len(expected)
    for number, (score, box, points) in enumerate(expected):
        assert found.scores[number] == pytest.approx(score, abs=1e-6)
        assert found.boxes_xyxy[number] == pytest.approx(np.array(box), abs=PX)
        assert found.keypoints[number, :, :2] == pytest.approx(points[:, :2], abs=PX)
        assert found.keypoints[number, :, 2] == pytest.approx(points[:, 2], abs=1e-6)


def assert_same(network: tiny_rows.Network, rng: Rng, batch: list[list[tiny_rows.Row]], p: Params) -> int:
    """The number of people, which are the slow twin's."""
    told = [tiny_rows.said(rng, rows, p, network.shapes) for rows in batch]
    outputs = {role: np.stack([one[role] for one in told]) for role in network.shapes}
    apart = {"scores": "scores", "labels": "label", "keypoints": "keypoints"}
    words = {*(p.columns if "rows" in outputs else ()), *(apart[role] for role in outputs if role in apart)}
    people = decode(outputs, tiny_rows.skeleton(network.keypoints), p, network.wh)
    for found, rows in zip(people, batch, strict=True):
        own = [{word: values for word, values in row.items() if word in words} for row in rows]
        assert_people(found, naive.decode(own, network.keypoints, p, network.wh))
    return sum(map(len, people))


@pytest.mark.filterwarnings("ignore:invalid value")
@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 5), st.sampled_from(["rows", "columns", "apart"]))
def test_rows_and_their_slow_twin(seed: int, count: int, form: str) -> None:
    rng = np.random.default_rng(seed)
    wh = (int(rng.integers(1, 100)), int(rng.integers(1, 100)))
    p, rows = some_params(rng, count, wh, form)
    network = tiny_rows.Network(some_shapes(rng, p, count, rows, form), wh, {}, count)
    assert_same(network, rng, [tiny_rows.some_rows(rng, p, count, rows, wh) for _ in range(2)], p)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("name", tiny_rows.NETWORKS)
def test_the_networks_of_today(name: str) -> None:
    """Every documented signature, random and constant."""
    network, rng = tiny_rows.NETWORKS[name], np.random.default_rng(0)
    p = decoder_params("rows", network.params)
    rows = tiny_rows.some_rows(rng, p, network.keypoints, network.rows, network.wh)
    rows[20:] = [row | {"scores": np.full_like(row["scores"], -9)} for row in rows[20:]]
    assert assert_same(network, rng, [rows, rows[:1] * len(rows)], p) > 1


def test_nobody_is_a_row_too() -> None:
    """Suppression inside the network leaves none: [N,0,5]."""
    for outputs in (
        {"rows": np.zeros((2, 0, 5)), "keypoints": np.zeros((2, 0, 17, 3))},
        {"rows": np.zeros((2, 0, 57))},
    ):
        columns = ("box", "scores") if "keypoints" in outputs else ("box", "scores", "label", "keypoints")
        assert [len(poses) for poses in decode(outputs, COCO_17, Params(columns), (64, 64))] == [0, 0]


def test_a_detector_of_other_keypoints_leaves_the_rest_empty() -> None:
    """Of a hand's 7 keypoints a network of 21 gets the first places, one of 2 the first two; 0 = none is looked at."""
    rows = np.random.default_rng(0).uniform(0.5, 1, (1, 1, 26)).astype(np.float32)
    for count, finds, expected in ((21, 7, 7), (2, 7, 2), (17, 0, 0)):
        columns = ("box", "scores", "keypoints", *["skip"] * (21 - 3 * finds))
        (poses,) = decode({"rows": rows}, tiny_rows.skeleton(count), Params(columns, keypoints=finds), (64, 64))
        assert poses.keypoints.shape == (1, count, 3)
        assert poses.keypoints[0, :expected].ravel().tolist() == rows[0, 0, 5 : 5 + 3 * expected].tolist()
        assert (poses.keypoints[0, expected:] == 0).all()


@pytest.mark.parametrize("most", [1, 3, 16384])
def test_so_many_rows_are_compared(most: int) -> None:
    """As if there had been no others; equal ones all or none."""
    rows = np.random.default_rng(1).uniform(0, 64, (1, 40, 5)).astype(np.float32)
    rows[..., 2:4] += rows[..., :2]
    rows[..., 4] = [0.9, *[0.8] * 2, *[0.7] * 37]
    (found,) = decode({"rows": rows}, tiny_rows.skeleton(0), Params(max_iou=1.0, max_rows=most), (64, 64))
    assert found.boxes_xyxy.tobytes() == rows[0, : {1: 1, 3: 3}.get(most, 40), :4].tobytes()


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({}, "it needs rows, or scores and keypoints"),
        ({"maps": np.zeros((1, 17, 2, 2))}, "it needs rows"),
        ({"rows": np.zeros((1, 55, 84))}, r"rows \[1, 55, 84\]: rows must be"),
        ({"rows": np.zeros((1, 5, 9, 9))}, "rows must be"),
        ({"rows": np.zeros((1, 9, 5))}, "keypoints must be given"),
        ({"rows": np.zeros((1, 9, 5)), "keypoints": np.zeros((1, 8, 17, 3))}, "keypoints must be given"),
        ({"rows": np.zeros((1, 9, 5)), "keypoints": np.zeros((1, 9, 17, 2))}, "keypoints must be given"),
        ({"rows": np.zeros((1, 9, 5)), "keypoints": np.zeros((1, 9, 18, 3))}, "keypoints must be given"),
        ({"keypoints": np.zeros((1, 9, 17, 3))}, "scores must be given"),
        ({"rows": np.zeros((1, 9, 5)), "scores": np.zeros((1, 9, 2))}, "scores must be given"),
        ({"rows": np.zeros((1, 9, 5)), "labels": np.zeros((1, 8))}, "labels must be given"),
        ({"rows": np.zeros((2, 9, 5)), "keypoints": np.zeros((1, 9, 17, 3))}, r"have \[1, 2\] rows"),
    ],
)
def test_outputs_that_do_not_fit(outputs: dict, message: str) -> None:
    with pytest.raises(PosertError, match=message):
        decode(outputs, COCO_17, Params(), (64, 64))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"columns": ["box", "box"]}, "each word but skip at most once"),
        ({"columns": ["visibility"]}, "box | objectness"),
        ({"classes": 2, "person": 2}, "from 0 to 1, one of the classes"),
        ({"cells": [[8, 0]]}, "cells"),
        ({"keypoints": -1}, "keypoints"),
        ({"max_iou": 1.5}, "max_iou"),
    ],
)
def test_params_are_checked(params: dict, message: str) -> None:
    with pytest.raises(PosertError, match=message):
        decoder_params("rows", params)


@pytest.mark.parametrize(("cells", "wh"), [(((8, 2), (16, 5)), (192, 192)), (((8, 2), (16, 6)), (192, 200))])
def test_cells_make_the_rows(cells: tuple, wh: tuple[int, int]) -> None:
    with pytest.raises(PosertError, match="the cells must make as many rows"):
        decode({"rows": np.zeros((1, 2016, 5))}, tiny_rows.skeleton(0), Params(cells=cells), wh)
