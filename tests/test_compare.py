"""What a comparison says of models: figures that can be counted by hand, the page, the figure, and what it refuses."""

import json
import re
from pathlib import Path

import cv2
import media
import numpy as np
import people
import pytest
import tiny
from command import Run as Command

from posert.measure.compare import Run, agreement, as_record, figures, jitter
from posert.poses import Result, Skeleton, no_poses
from posert.skeletons import COCO_17, OPENPOSE_18

AT = (320.0, 240.0)


def results(*found: object, timings_ms: dict[str, float] | None = None) -> list[Result]:
    made = [people.result(poses, index)[1] for index, poses in enumerate(found)]
    for one in made:
        one.timings_ms.update(timings_ms or {})
    return made


def of(one: list[Result], other: list[Result], *skeletons: Skeleton) -> list[float]:
    return agreement(one, other, skeletons or (COCO_17, COCO_17)).round(4).tolist()


def test_the_same_people_agree_and_nobody_agrees_with_nobody() -> None:
    one = results(people.standing(AT), people.standing(AT, (100, 200)), no_poses(17))
    assert of(one, one) == [1, 1, 1]


def test_who_is_missing_counts_as_nothing() -> None:
    one = results(people.standing(AT, (100, 200)), people.standing(AT))
    assert of(one, results(people.standing(AT), no_poses(17))) == [0.5, 0]


def test_the_order_of_people_does_not_matter() -> None:
    one, other = people.standing(AT, (100, 200)), people.standing((100, 200), AT)
    assert of(results(one), results(other)) == [1]


def test_similarity_is_cocos() -> None:
    """All keypoints 5 px away: the mean of exp(-d^2 / (2 area (2 sigma)^2)) over them."""
    one, other = people.standing(AT), people.standing((AT[0] + 5, AT[1]))
    area = float(np.prod(one.boxes_xyxy[0, 2:] - one.boxes_xyxy[0, :2]))
    expected = np.mean(np.exp(-25 / (2 * area * (2 * np.array(COCO_17.sigmas)) ** 2)))
    assert of(results(one), results(other)) == pytest.approx([expected], abs=1e-4)


def test_only_what_both_skeletons_name_is_compared() -> None:
    """The same points in OpenPose's order, with a neck that COCO lacks."""
    one = people.standing(AT)
    moved = np.zeros((1, 18, 3), np.float32)
    for k, name in enumerate(COCO_17.names):
        moved[0, OPENPOSE_18.names.index(name)] = one.keypoints[0, k]
    other = type(one)(moved, one.scores, one.boxes_xyxy)
    assert of(results(one), results(other), COCO_17, OPENPOSE_18) == [1]


def test_a_keypoint_that_only_one_found_counts_as_nothing() -> None:
    one, other = people.standing(AT), people.standing(AT)
    other.keypoints[0, :4] = 0
    assert of(results(one), results(other)) == pytest.approx([13 / 17], abs=1e-4)


def test_jitter_is_the_way_to_the_middle_of_the_neighbours() -> None:
    steady = [people.standing((100 + 3 * i, 200), ids=[1]) for i in range(5)]
    assert jitter(results(*steady)) == pytest.approx(np.zeros(3 * 17), abs=1e-6)
    shaking = [people.standing((100 + 4 * (i % 2), 200), ids=[1]) for i in range(5)]
    height = float(shaking[0].boxes_xyxy[0, 3] - shaking[0].boxes_xyxy[0, 1])
    assert jitter(results(*shaking)) == pytest.approx(np.full(3 * 17, 4 / height), rel=1e-4)
    others = [people.standing((100 + 4 * (i % 2), 200), ids=[i + 1]) for i in range(5)]
    assert not len(jitter(results(*others)))


def test_figures() -> None:
    half = people.standing(AT, (100, 200))
    half.keypoints[0, :] = 0
    found = figures([Run(results(half, no_poses(17), timings_ms={"run": 2.0, "decode": 1.0}), 0.5)])
    assert (found.people, found.missing, found.frames_a_second) == (1, 0.5, 4)
    assert found.steps_ms == {"run": 2.0, "decode": 1.0}
    assert as_record(found)["jitter"] is None


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    made = [tiny.bright_spot(tmp_path / f"{name}.onnx") for name in ("one", "two")]
    return [word for path in made for word in ("--model", str(path))]


def test_the_page_and_the_figure(run: Command, models: list[str], tmp_path: Path) -> None:
    video = media.video(tmp_path / "a.mp4", count=6, size_wh=(96, 64))
    cv2.imwrite(str(tmp_path / "b.png"), media.numbered(3))
    page, figure = tmp_path / "out.html", tmp_path / "out.png"
    code, out, _ = run("compare", video, tmp_path / "b.png", *models, "-o", page, "--figure", figure)
    assert (code, out.split()) == (0, [str(page), str(figure)])
    data = json.loads(re.search(r'id="page">(.*?)</script>', page.read_text())[1])
    assert [model["name"] for model in data["models"]] == ["one", "two"]
    assert [source["title"] for source in data["sources"]] == ["a.mp4", "b.png"]
    assert data["sources"][0]["agreement"][0][1] == {"mean": 1.0, "frames": [100] * 6}
    assert data["models"][0]["bytes"] == (tmp_path / "one.onnx").stat().st_size
    held = set(re.findall(r'<script type="text/plain" id="([\w-]+)"', page.read_text()))
    assert held == {"medium-0", "medium-1", *(f"people-{s}-{m}" for s in (0, 1) for m in (0, 1))}
    grid = cv2.imread(str(figure))
    assert grid.shape == (44 + (480 * 64 // 96 + 8) + (480 * 48 // 64 + 8), 2 * 488, 3)
    code, _, _ = run("compare", video, *models, "--figure", figure, "--draw", "background=black")
    assert code == 0
    assert not cv2.imread(str(figure))[60:90, 300:460].any()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["v.mp4"], "nowhere to write"),
        (["v.mp4", "-o", "a.html", "--draw", "boxes"], "--draw is of the people in --figure"),
        (["v.mp4", "--figure", "a.png", "--draw", "trails=1"], "it has no trails"),
        (["0", "-o", "a.html"], "gives other frames to every model"),
        (["v.mp4", "-o", "v.mp4"], "would be written over"),
        (["v.mp4", "v.png", "-o", "a.html", "--figure", "v.png"], "would be written over"),
        (["v.mp4", "-o", "a.html", "--start", "99"], "no frame was selected"),
        (["v.mp4", "-o", "a.html", "--coco", "c.json"], "belong together"),
        (["v.mp4", "--figure", "a.pdf"], "cannot write .pdf"),
        (["none.mp4", "-o", "a.html"], "does not exist"),
    ],
)
def test_what_cannot_be_compared_is_said(
    arguments: list[str], said: str, run: Command, models: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    media.video(tmp_path / "v.mp4", count=3)
    cv2.imwrite("v.png", media.numbered(1))
    code, _, err = run("compare", *arguments, *models)
    assert code == 1
    assert said in err
    assert not (tmp_path / "a.html").exists()


def test_models_have_names(run: Command, models: list[str], tmp_path: Path) -> None:
    """A file's own, or one that is given; a number tells two of one name apart."""
    cv2.imwrite(str(tmp_path / "b.png"), media.numbered(3))
    named = ["--model", f"mine & yours={models[1]}"]
    assert run("compare", tmp_path / "b.png", *models[:2], *models[:2], *named, "-o", tmp_path / "a.html")[0] == 0
    data = json.loads(re.search(r'id="page">(.*?)</script>', (tmp_path / "a.html").read_text())[1])
    assert [model["name"] for model in data["models"]] == ["one", "one #2", "mine & yours"]


def test_with_annotations_the_page_has_the_ap(run: Command, models: list[str], tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "1.jpg"), media.numbered(3))
    person = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 400, "bbox": [10, 10, 20, 20]}
    person |= {"num_keypoints": 17, "keypoints": [20, 20, 2] * 17}
    picture = {"id": 1, "file_name": "1.jpg", "width": 64, "height": 48}
    coco = {"images": [picture], "categories": [{"id": 1, "name": "person"}], "annotations": [person]}
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    given = ["--coco", tmp_path / "coco.json", "--images", tmp_path / "images"]
    assert run("compare", tmp_path / "images", *models, *given, "-o", tmp_path / "a.html")[0] == 0
    data = json.loads(re.search(r'id="page">(.*?)</script>', (tmp_path / "a.html").read_text())[1])
    assert [model["ap"] for model in data["models"]] == [0, 0]  # the bright spot is elsewhere
