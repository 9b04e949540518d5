"""What the network saw as files: heatmaps and fields of limbs as they are, and the candidates of every keypoint."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import media
import numpy as np
import people
import pytest
import tiny_kinds
from command import Run

from posert import PosertError, estimate_image, open_model
from posert.poses import PartMap
from posert.runtime.files.formats import maps_wanted, sink_of
from posert.runtime.files.maps import asked_of, peaks

RNG = np.random.default_rng(8)
PLACE = np.array([[[8.0, 0.0, 3.5], [0.0, 8.0, 3.5]]])  # cells of 8 px


def heatmap(values: np.ndarray, place: np.ndarray = PLACE) -> PartMap:
    return PartMap("heatmap:nose", values[None].astype(np.float32), place)


def blob(at: tuple[float, float], size_hw: tuple[int, int] = (20, 30), sigma: float = 1.5) -> np.ndarray:
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    return np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * sigma**2))


def test_peaks_are_where_the_map_is_largest() -> None:
    """Between the cells, in px of the frame; two people are two candidates, noise is none."""
    values = np.maximum(blob((7.3, 4.8)), 0.6 * blob((20.0, 12.4))) + RNG.uniform(0, 0.01, (20, 30))
    found = peaks(heatmap(values))
    assert len(found) == 2
    assert found[:, :2] == pytest.approx(np.array([[7.3, 4.8], [20.0, 12.4]]) * 8 + 3.5, abs=0.8)
    assert found[:, 2] == pytest.approx([1, 0.6], abs=0.06)


def test_plateaus_and_borders() -> None:
    flat = np.zeros((4, 5))
    flat[1, 1:4] = 0.5
    assert peaks(heatmap(flat)).tolist() == [[15.5, 11.5, 0.5]]  # the first, half a cell on
    corner = np.zeros((4, 5))
    corner[3, 4] = 0.7
    assert peaks(heatmap(corner)) == pytest.approx(np.array([[35.5, 27.5, 0.7]]))
    assert peaks(heatmap(np.full((4, 5), 0.04))).shape == (0, 3)
    corner[3, 3], corner[0, 0] = np.nan, np.inf
    assert peaks(heatmap(corner)) == pytest.approx(np.array([[35.5, 27.5, 0.7]]))


def test_a_turned_window() -> None:
    turned = np.array([[[0.0, -2.0, 50.0], [2.0, 0.0, 10.0]]])
    values = np.zeros((4, 5))
    values[2, 3] = 1
    assert peaks(heatmap(values, turned))[0, :2].tolist() == [50 - 2 * 2, 10 + 2 * 3]


@pytest.mark.parametrize("kind", ["limbs", "bodies", "stars", "crops"])
def test_the_files_have_what_the_network_gave(tmp_path: Path, kind: str) -> None:
    """As `estimate` gives it; and nearly every keypoint that the decoder found is one of the candidates."""
    picture = RNG.integers(100, 255, (150, 200, 3), np.uint8)
    with open_model(getattr(tiny_kinds, kind)(tmp_path), device="cpu", threads=1) as model:
        asked = maps_wanted("heatmaps,candidates", model.spec.skeleton)
        result, spec = estimate_image(model, picture, maps=asked), model.spec
    frame, _ = people.result(people.standing())
    for form in ("heatmaps", "candidates"):
        with sink_of(form)(tmp_path / form, spec, "walk.mp4") as put:
            put(frame, result)
    with np.load(tmp_path / "heatmaps", allow_pickle=False) as made:
        assert made["names"].tolist() == list(spec.skeleton.names)
        assert made["values"].shape[:2] == (len(result.maps[0].values), len(spec.skeleton.names))
        for number, one in enumerate(result.maps):
            assert np.array_equal(made["values"][:, number], one.values, equal_nan=True)
        assert np.array_equal(made["to_frame"], result.maps[0].to_frame)
        assert made["frame_index"].tolist() == [0] * len(made["values"])
    with np.load(tmp_path / "candidates", allow_pickle=False) as made:
        points, part = made["points"], made["part"]
        expected = np.concatenate([peaks(one) for one in result.maps])
        assert points == pytest.approx(expected, abs=1e-3)
        assert part.tolist() == [k for k, one in enumerate(result.maps) for _ in peaks(one)]


def test_a_file_holds_one_size(tmp_path: Path) -> None:
    spec = replace(people.SPEC, skeleton=replace(people.SPEC.skeleton, names=("nose",), edges=()))
    frame, result = people.result(people.standing())
    with pytest.raises(PosertError, match="maps of"), sink_of("heatmaps")(tmp_path / "a.npz", spec, "a.tiff") as put:
        put(frame, replace(result, maps=(heatmap(np.zeros((4, 5))),)))
        put(frame, replace(result, maps=(heatmap(np.zeros((4, 6))),)))
    with pytest.raises(PosertError, match="no maps"), sink_of("candidates")(tmp_path / "b.npz", spec, "a.mp4") as put:
        put(frame, result)


def test_by_the_command_line(run: Run, tmp_path: Path, model: Path) -> None:
    """All three beside the lines, which are what they are without; a network without maps says so."""
    network = tiny_kinds.limbs(tmp_path)
    video = media.video(tmp_path / "a.mp4", count=3)
    forms = [word for form in ("heatmaps", "pafs", "candidates", "jsonl") for word in ("--format", form)]
    code, _, err = run("infer", network, video, "-o", tmp_path / "out", *forms)
    assert code == 0, err
    run("infer", network, video, "-o", tmp_path / "alone.jsonl")
    assert (tmp_path / "out" / "a.mp4.jsonl").read_bytes() == (tmp_path / "alone.jsonl").read_bytes()
    height, width = cv2.VideoCapture(str(video)).read()[1].shape[:2]
    with np.load(tmp_path / "out" / "a.mp4.heatmaps.npz") as made:
        assert made["frame_index"].tolist() == [0, 1, 2]
        corner = made["to_frame"][0] @ [made["values"].shape[3] - 1, made["values"].shape[2] - 1, 1]
        assert (0.5 * np.array([width, height]) < corner).all()
    with np.load(tmp_path / "out" / "a.mp4.pafs.npz") as made:
        assert made["values"].shape[2] == 2
        assert made["values"].shape[1] == len(made["names"])
    code, _, err = run("infer", model, video, "-o", tmp_path / "b.npz", "--format", "heatmaps")
    assert code == 1
    assert "error: heatmap:nose: the network's outputs are keypoints" in err


def test_what_is_asked_for() -> None:
    skeleton = SimpleNamespace(names=("neck", "nose"), edges=((0, 1),))
    assert asked_of("heatmap", skeleton) == ["heatmap:neck", "heatmap:nose"]  # type: ignore[arg-type]
    assert maps_wanted("jsonl,csv", people.SKELETON) == []
    assert maps_wanted("candidates,heatmaps", people.SKELETON) == asked_of("heatmap", people.SKELETON)
