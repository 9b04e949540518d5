"""The examples of docs/python.md run; what other libraries make of results is what they are (`make test-bridges`)."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import people
import pytest
from command import ROOT, Run

from posert import read_results, to_pandas
from posert.errors import PosertError
from posert.runtime.files.formats import sink_of
from posert.runtime.files.table import rows

DOC = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
EXAMPLES = {
    f"{title} {number}": program
    for title, text in re.findall(r"^### ([^\n]+)\n(.*?)(?=^### |\Z)", DOC, re.DOTALL | re.MULTILINE)
    for number, program in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
}
RESULTS = [
    people.result(people.standing((100, 200), (300, 200), ids=[1, 2]), 0),
    people.result(people.standing(ids=[]), 1),
    people.result(people.standing((110, 200), ids=[1]), 2),
]


@pytest.fixture
def place(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with a drawn clip of two seconds, `walk.mp4`, and its people as lines and dataset."""
    from posert.export.nano import clip

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(clip, "FRAMES", 50)
    clip.write(tmp_path / "walk.mp4")
    infer = ["infer", "nano", "walk.mp4", "--track", "--stride", 5]
    assert run(*infer, "-o", "walk.jsonl")[0] == 0
    assert run(*infer, "-o", "walk_coco", "--format", "coco-dataset")[0] == 0
    return tmp_path


def example(title: str) -> str:
    """What an example prints, run by itself as somebody would."""
    done = subprocess.run([sys.executable, "-c", EXAMPLES[title]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.bridges
def test_supervision(place: Path) -> None:
    """Its own annotator draws the limbs; who is not found is not visible."""
    sv = pytest.importorskip("supervision")
    example("supervision 0")
    assert len(list(sv.get_video_frames_generator("drawn.mp4"))) == 50
    poses = RESULTS[0][1].poses
    poses.keypoints[1, 3] = 0
    found = RESULTS[0][1].to_supervision()
    assert found.xy.tolist() == poses.keypoints[:, :, :2].tolist()
    assert found.visible.sum() == 33
    assert found.data["tracker_id"].tolist() == [1, 2]
    assert found[found.data["tracker_id"] == 2].xy[0, 0].tolist() == [300, 110]
    assert found.as_detections().xyxy[0] == pytest.approx(poses.boxes_xyxy[0], abs=1)
    edges = [(a + 1, b + 1) for a, b in people.SKELETON.edges]
    drawn = sv.EdgeAnnotator(edges=edges).annotate(np.zeros((480, 640, 3), np.uint8), found)
    assert drawn[140, 100].any()  # between the shoulders
    assert not drawn[300:].any()
    assert len(RESULTS[1][1].to_supervision()) == 0


@pytest.mark.bridges
def test_pandas(place: Path) -> None:
    """Its table of results is its table of the csv file of the same results."""
    pandas = pytest.importorskip("pandas")
    said = example("pandas 0")
    assert "nose_x" in said
    with rows(place / "a.csv", people.SPEC, "walk.mp4") as put:
        for frame, result in RESULTS:
            put(frame, result)
    table, read = to_pandas((result for _, result in RESULTS), people.SPEC.skeleton), pandas.read_csv("a.csv")
    assert list(table.columns) == list(read.columns)
    assert table.shape == (3, 12 + 3 * 17)
    assert table["id"].tolist() == read["id"].tolist() == [1, 2, 1]
    assert table["person"].tolist() == [0, 1, 0]
    numbers = table.columns.drop("source")
    assert table[numbers].to_numpy(float) == pytest.approx(read[numbers].to_numpy(float), abs=0.005)
    unknown = to_pandas([people.result(people.standing((100, 200)))[1]], people.SPEC.skeleton)
    assert unknown["id"].isna().all()
    assert to_pandas([], people.SPEC.skeleton).empty


@pytest.mark.bridges
def test_trc_as_pose2sim_reads_it(tmp_path: Path) -> None:
    """Five lines of header, markers at every third place of the fourth, then a table that pandas reads."""
    pandas = pytest.importorskip("pandas")
    with sink_of("trc")(tmp_path / "out", people.SPEC, "walk.mp4") as put:
        for frame, result in RESULTS:
            put(frame, result)
    path = tmp_path / "out" / "walk_px_person01.trc"
    markers = path.read_text().splitlines()[3].split("\t")[2::3]
    assert markers[:2] == ["Nose", "LEye"]
    table = pandas.read_csv(path, sep="\t", skiprows=4)
    assert table.shape == (3, 2 + 3 * 17)
    assert table["X1"].tolist()[::2] == [100, 110]
    assert np.isnan(table["X1"][1])


@pytest.mark.bridges
def test_rerun(place: Path) -> None:
    """The recording that it writes can be read, and has every frame's people."""
    pytest.importorskip("rerun")
    example("Rerun 0")
    from rerun.chunk import RrdReader

    rows = [
        (str(chunk.entity_path).rpartition("/")[2], dict(row))
        for chunk in RrdReader("walk.rrd").stream()
        if str(chunk.entity_path).startswith("/frame/people/")
        for row in chunk.to_record_batch().to_pylist()
    ]
    found = {(int(key), round(row["video"].total_seconds(), 3)): row for key, row in rows}
    results = list(read_results(place / "walk.jsonl").results)
    people_of = {
        (int(key), round(result.time_s, 3)): points[points[:, 2] > 0]
        for result in results
        for key, points in zip(result.poses.ids if len(result.poses) else [], result.poses.keypoints, strict=True)
    }
    assert found.keys() == people_of.keys()
    assert len(found) > len(results) > 5
    for place_, points in people_of.items():
        assert np.array(found[place_]["Points2D:positions"]) == pytest.approx(points[:, :2])


@pytest.mark.bridges
def test_datumaro(place: Path) -> None:
    dm = pytest.importorskip("datumaro")
    assert "right_shoulder" in example("datumaro, CVAT 0")
    assert Path("walk_datumaro").is_dir()
    dataset = dm.Dataset.import_from("walk_coco/annotations/person_keypoints_default.json", "coco_person_keypoints")
    counts = {item.attributes["id"]: len(item.annotations) for item in dataset}
    recording = read_results(place / "walk.jsonl")
    results = {result.frame_index: result.poses for result in recording.results}
    assert counts == {index: 2 * len(poses) for index, poses in results.items()}  # points and a box of each
    assert max(counts.values()) > 0
    index = max(counts, key=lambda number: counts[number])
    (item,) = (item for item in dataset if item.attributes["id"] == index)
    assert item.media.data.shape[:2] == (360, 640)
    points = [each for each in item.annotations if each.type == dm.AnnotationType.points]
    assert sorted(each.attributes["track_id"] for each in points) == sorted(results[index].ids.tolist())
    first = results[index].keypoints[0]
    where = next(each for each in points if each.attributes["track_id"] == results[index].ids[0])
    expected = np.where(first[:, 2:] > 0, first[:, :2], 0).ravel()
    assert where.points == pytest.approx(expected, abs=0.01)
    labels = dataset.categories()[dm.AnnotationType.points].items[0].labels
    assert tuple(labels) == recording.skeleton.names


@pytest.mark.bridges
def test_datumaro_makes_one_dataset_of_a_folder(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures whose names have no number have one id each in their own files, and others in the whole."""
    pytest.importorskip("datumaro")
    from pycocotools.coco import COCO

    from posert.export.nano import clip

    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name, index in (("one", 30), ("two", 90)):
        cv2.imwrite(f"photos/{name}.png", clip.render(index)[0])
    assert run("infer", "nano", "photos", "-o", "photos_coco", "--format", "coco-dataset", "--format", "jsonl")[0] == 0
    example("datumaro, CVAT 1")
    (made,) = Path("photos_dataset").rglob("*.json")
    whole = COCO(str(made))
    counts = {Path(image["file_name"]).stem: len(whole.getAnnIds(imgIds=key)) for key, image in whole.imgs.items()}
    assert len(whole.imgs) == 2
    for name in ("one", "two"):
        (result,) = read_results(f"photos_coco/{name}.png.jsonl").results
        assert counts[name] == len(result.poses) > 0


@pytest.mark.bridges
def test_a_real_video_is_csv_dataset_and_openpose_at_once(run: Run, assets: Path, tmp_path: Path) -> None:
    """One run; pycocotools and datumaro read the dataset, pandas the table, and all say the same people."""
    dm, pandas = pytest.importorskip("datumaro"), pytest.importorskip("pandas")
    from pycocotools.coco import COCO

    video = assets / "media" / "videos" / "pose2sim_multi_cam02.mp4"
    forms = [word for form in ("csv", "coco-dataset", "openpose") for word in ("--format", form)]
    code, _, err = run("infer", "nano", video, "-o", tmp_path / "out", "--stride", 4, "--track", *forms)
    assert code == 0, err
    made = tmp_path / "out" / "pose2sim_multi_cam02.mp4.coco-dataset" / "annotations" / "person_keypoints_default.json"
    coco, dataset = COCO(str(made)), dm.Dataset.import_from(str(made), "coco_person_keypoints")
    table = pandas.read_csv(tmp_path / "out" / "pose2sim_multi_cam02.mp4.csv")
    assert len(coco.imgs) == len(dataset) == len(list((tmp_path / "out" / "pose2sim_multi_cam02_json").iterdir())) == 25
    assert len(coco.anns) == len(table) > 0
    assert sum(len(item.annotations) for item in dataset) == 2 * len(table)


def test_without_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("supervision", "pandas"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PosertError, match="supervision is not installed"):
        RESULTS[0][1].to_supervision()
    with pytest.raises(PosertError, match="pandas is not installed"):
        to_pandas([], people.SPEC.skeleton)


def test_every_example_has_a_test() -> None:
    assert set(EXAMPLES) == {"supervision 0", "pandas 0", "Rerun 0", "datumaro, CVAT 0", "datumaro, CVAT 1"}
    for program in EXAMPLES.values():
        compile(program, "docs/python.md", "exec")
