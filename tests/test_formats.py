"""Every layout, read back by the program it is for where that can be installed."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import people
import pytest

from posert.errors import PosertError
from posert.poses import PartMap, Poses, Result, Skeleton
from posert.runtime.after.body import Stature
from posert.runtime.after.features import Featuring
from posert.runtime.after.options import FeatureOptions
from posert.runtime.files.dataset import image_of
from posert.runtime.files.formats import FORMATS, in_parts, openpose_fields, parts_of, sink_of
from posert.runtime.files.maps import asked_of
from posert.runtime.spec import InputSpec, ModelSpec
from posert.skeletons import BODY_25, COCO_17, COCO_WHOLE_BODY_133, FACE_106, OPENPOSE_18


def with_maps(result: Result, rng: np.random.Generator) -> Result:
    """With maps of 5 x 4 cells for every keypoint and limb of the layouts' skeleton."""
    asked = [name for kind in ("heatmap", "paf") for name in asked_of(kind, people.SPEC.skeleton)]
    sizes = [(1, 4, 5) if name.startswith("heatmap") else (1, 2, 4, 5) for name in asked]
    place = np.array([[[8.0, 0, 3.5], [0, 8, 3.5]]])
    made = [PartMap(n, rng.random(size).astype(np.float32), place) for n, size in zip(asked, sizes, strict=True)]
    return replace(result, maps=tuple(made))


RESULTS = [
    people.result(people.standing((100, 200), (300.123456, 200), ids=[1, 2]), 0),
    people.result(people.standing(ids=[]), 1),
    people.result(people.standing((110, 200), ids=[1]), 2),
]
RNG = np.random.default_rng(3)
RESULTS = [(frame, with_maps(result, RNG)) for frame, result in RESULTS]


def write(form: str, folder: Path, source: str = "walk.mp4", *, empty: bool = False, features: bool = False) -> Path:
    path = folder / FORMATS[form].name(Path(source).name)
    featuring = Featuring(people.SKELETON)
    with sink_of(form, empty=empty)(path, people.SPEC, source) as put:
        for frame, result in RESULTS if source.endswith("mp4") else RESULTS[:1]:
            made = featuring(result.poses, result.time_s, result.size_wh) if features else None
            put(frame, replace(result, source=source, features=made))
    return path


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "parquet"])
def test_equal_results_are_equal_bytes_and_no_rest(form: str, tmp_path: Path) -> None:
    def tree(folder: Path) -> dict[str, bytes]:
        return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    write(form, tmp_path / "a")
    write(form, tmp_path / "b")
    write(form, tmp_path / "b")  # over itself
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert not [name for name in tree(tmp_path / "b") if Path(name).name.startswith(".")]


@pytest.mark.parametrize("form", FORMATS)
def test_a_broken_run_never_looks_finished(form: str, tmp_path: Path) -> None:
    path = tmp_path / FORMATS[form].name("walk.mp4")
    for error in (PosertError("cut off"), ValueError()):
        with pytest.raises(type(error)), FORMATS[form].sink(path, people.SPEC, "walk.mp4") as put:
            put(*RESULTS[0])
            raise error
        assert not path.exists()
    write(form, tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("form", [form for form in FORMATS if form not in ("jsonl", "csv")])
def test_only_lines_go_to_standard_output(form: str) -> None:
    with pytest.raises(PosertError, match="standard output"), FORMATS[form].sink(None, people.SPEC, "walk.mp4"):
        pass


def test_json_is_the_lines_in_one_document(tmp_path: Path) -> None:
    whole = load(write("json", tmp_path))
    header, *frames = [json.loads(line) for line in write("jsonl", tmp_path).read_text().splitlines()]
    assert whole.pop("frames") == frames
    assert whole == header
    assert [len(frame["people"]) for frame in frames] == [2, 0, 1]


def test_openpose_files(tmp_path: Path) -> None:
    folder = write("openpose", tmp_path)
    assert folder.name == "walk_json"
    assert sorted(file.name for file in folder.iterdir()) == [f"walk_{i:012d}_keypoints.json" for i in range(3)]
    first, second = (load(folder / f"walk_{i:012d}_keypoints.json") for i in (0, 1))
    assert second == {"version": 1.3, "people": []}
    assert [person["person_id"] for person in first["people"]] == [[1], [2]]
    assert list(first["people"][0]) == [
        "person_id", "pose_keypoints_2d", "face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d",
        "pose_keypoints_3d", "face_keypoints_3d", "hand_left_keypoints_3d", "hand_right_keypoints_3d",
    ]  # fmt: skip
    points = np.array(first["people"][1]["pose_keypoints_2d"]).reshape(18, 3)
    assert points[0].tolist() == [300.123, 110, 0.9]  # six significant digits
    assert points[1].tolist() == [300.123, 140, 0.9]  # the neck between the shoulders
    assert points[2, 0] == 320.123  # right shoulder
    assert write("openpose", tmp_path, "a/photo.jpg") == tmp_path / "photo_keypoints.json"
    assert len(load(tmp_path / "photo_keypoints.json")["people"]) == 2


def _points(unit: int, folder: Path, spec: ModelSpec = people.SPEC) -> np.ndarray:
    """[N,18,3] of the first frame."""
    path, (frame, result) = folder / f"walk_{unit}", people.result(people.standing((100, 200), (300.123456, 200)))
    result.poses.keypoints[0, 5] = 0  # a shoulder, and with it the neck
    with sink_of("openpose", unit=unit)(path, spec, "walk.mp4") as put:
        put(frame, result)
    document = load(path / "walk_000000000000_keypoints.json")
    return np.array([person["pose_keypoints_2d"] for person in document["people"]]).reshape(2, -1, 3)


def test_openposes_keypoint_scales(tmp_path: Path) -> None:
    """The frame's pixels, those of the output (the same), and shares of the frame; what was not found stays 0."""
    people_wh = np.array(RESULTS[0][1].size_wh)
    pixels = _points(0, tmp_path)
    missing = pixels[:, :, 2] == 0
    assert missing.any()
    assert not missing.all()
    assert _points(2, tmp_path).tolist() == pixels.tolist()
    for unit, expected in ((3, pixels[:, :, :2] / people_wh), (4, 2 * pixels[:, :, :2] / people_wh - 1)):
        got = _points(unit, tmp_path)
        assert got[~missing][:, :2] == pytest.approx(expected[~missing], abs=2e-5)
        assert not got[missing].any()
        assert got[:, :, 2].tolist() == pixels[:, :, 2].tolist()


def test_pixels_of_the_network_input(tmp_path: Path) -> None:
    """A frame of 640x480 is 368 high and 496 wide in a CMU network; the steps between its pixels are what scales."""
    image = InputSpec("i", "NCHW", "float32", "bgr", (0, 368), "corner_pixels", multiple_of=16)
    stage = replace(people.SPEC.stages[0], region="frame", input=image)
    frame_wh = RESULTS[0][1].size_wh
    factor = min(_width(frame_wh) / (frame_wh[0] - 1), 367 / (frame_wh[1] - 1))
    got, pixels = _points(1, tmp_path, replace(people.SPEC, stages=(stage,))), _points(0, tmp_path)
    assert got[:, :, :2] == pytest.approx(pixels[:, :, :2] * factor, rel=1e-4)


def _width(frame_wh: tuple[int, int]) -> int:
    return 16 * round(min(368 * 16 / 9, 368 * frame_wh[0] / frame_wh[1]) / 16) - 1


@pytest.mark.parametrize("edits", [{"region": "boxes"}, {"input": {"fit": "center"}}])
def test_pixels_of_an_input_that_does_not_begin_in_the_corner(tmp_path: Path, edits: dict) -> None:
    stage = replace(people.SPEC.stages[0], region=edits.get("region", "frame"))
    stage = replace(stage, input=replace(stage.input, **{"fit": "corner"} | edits.get("input", {})))
    with pytest.raises(PosertError, match="from the corner of its input"):
        _points(1, tmp_path, replace(people.SPEC, stages=(stage,)))


def test_only_openposes_files_have_other_units() -> None:
    with pytest.raises(PosertError, match="the format coco knows no `keypoint_scale`") as found:
        sink_of("coco", unit=3)
    assert found.value.hint == "openpose does"


def test_openposes_files_of_15_parts_and_of_none(tmp_path: Path) -> None:
    names = (
        "head", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
        "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "chest",
    )  # fmt: skip
    assert parts_of(Skeleton(names, ())) == names
    numbered = replace(people.SPEC, skeleton=Skeleton(tuple(f"point_{i}" for i in range(70)), ()))
    with pytest.raises(PosertError, match="no place for the keypoints"):
        _points(0, tmp_path, numbered)


def test_openposes_files_have_the_faces_and_hands_of_whole_bodies(tmp_path: Path) -> None:
    """By name, in OpenPose's order; pupils, which COCO-WholeBody has not, are not found; a face of 106 is another."""
    count = len(COCO_WHOLE_BODY_133.names)
    points = np.stack([np.arange(count), np.arange(count) + 0.5, np.full(count, 0.5)], axis=1)[None].astype(np.float32)
    frame, result = people.result(Poses(points, np.ones(1, np.float32), np.zeros((1, 4), np.float32)))
    with sink_of("openpose")(
        tmp_path / "walk_json", replace(people.SPEC, skeleton=COCO_WHOLE_BODY_133), "walk.mp4"
    ) as put:
        put(frame, result)
    (person,) = load(tmp_path / "walk_json" / "walk_000000000000_keypoints.json")["people"]
    fields = {name: np.array(values).reshape(-1, 3)[:, 0].tolist() for name, values in person.items() if "2d" in name}
    assert len(fields["pose_keypoints_2d"]) == 25
    assert fields["face_keypoints_2d"] == [*range(23, 91), 0, 0]
    assert fields["hand_left_keypoints_2d"] == [*range(91, 112)]
    assert fields["hand_right_keypoints_2d"] == [*range(112, 133)]
    assert openpose_fields(Skeleton((*COCO_17.names, *FACE_106.names), ()))["face_keypoints_2d"] == ()


def test_parts_are_found_by_name_never_by_count() -> None:
    shuffled = tuple(reversed(BODY_25.names))
    points = np.arange(75, dtype=np.float32).reshape(1, 25, 3) + 1
    assert parts_of(Skeleton(shuffled, ())) == BODY_25.names
    assert in_parts(points, Skeleton(shuffled, ()), BODY_25.names).tolist() == points[:, ::-1].tolist()
    assert parts_of(Skeleton(tuple(f"point_{i}" for i in range(25)), ())) == OPENPOSE_18.names
    assert not in_parts(points, Skeleton(tuple(f"point_{i}" for i in range(25)), ()), OPENPOSE_18.names).any()


def test_a_neck_needs_both_shoulders() -> None:
    poses = people.standing((100, 200))
    poses.keypoints[0, 5] = 0
    assert in_parts(poses.keypoints, people.SKELETON, OPENPOSE_18.names)[0, 1].tolist() == [0, 0, 0]


def test_order_of_the_parts() -> None:
    assert (OPENPOSE_18.names[4], OPENPOSE_18.names[8], OPENPOSE_18.names[14], OPENPOSE_18.names[17]) == (
        "right_wrist", "right_hip", "right_eye", "left_ear",
    )  # fmt: skip
    assert (BODY_25.names[8], BODY_25.names[9], BODY_25.names[15], BODY_25.names[19], BODY_25.names[24]) == (
        "mid_hip", "right_hip", "right_eye", "left_big_toe", "right_heel",
    )  # fmt: skip


def test_alphapose_list(tmp_path: Path) -> None:
    rows = load(write("alphapose", tmp_path))
    assert [row["image_id"] for row in rows] == ["0.jpg", "0.jpg", "2.jpg"]
    assert [row["idx"] for row in rows] == [[1.0], [2.0], [1.0]]
    assert set(rows[0]) == {"image_id", "category_id", "keypoints", "score", "box", "idx"}
    assert len(rows[0]["keypoints"]) == 51
    assert rows[0]["box"] == [70, 105, 60, 183]
    kept = load(write("alphapose", tmp_path, empty=True))
    assert [row["image_id"] for row in kept] == ["0.jpg", "0.jpg", "1.jpg", "2.jpg"]
    assert load(write("alphapose", tmp_path, "a/photo.png"))[0]["image_id"] == "photo.png"


@pytest.mark.parametrize(
    ("form", "key", "joints"),
    [("alphapose-cmu", "bodies", "joints"), ("alphapose-open", "people", "pose_keypoints_2d")],
)
def test_alphapose_dictionaries(tmp_path: Path, form: str, key: str, joints: str) -> None:
    folder = write(form, tmp_path)
    whole = load(folder / "alphapose-results.json")
    assert list(whole) == ["0.jpg", "2.jpg"]
    assert whole["0.jpg"]["version"] == "AlphaPose v0.3"
    assert [len(person[joints]) for person in whole["0.jpg"][key]] == [54, 54]
    assert load(folder / "sep-json" / "2.json") == whole["2.jpg"]
    assert load(write(form, tmp_path, empty=True) / "alphapose-results.json")["1.jpg"][key] == []


def test_openpifpaf_predictions(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in write("openpifpaf", tmp_path).read_text().splitlines()]
    assert [(line["frame"], len(line["predictions"])) for line in lines] == [(1, 2), (2, 0), (3, 1)]
    assert lines[0]["predictions"][1]["keypoints"][:3] == [300.12, 110.0, 0.9]
    assert lines[0]["predictions"][1]["id_"] == 2
    faint = people.standing((100, 200), ids=[1])
    faint.keypoints[0, :3, 2], faint.scores[:] = (0.0004, 0.456, 0), 0.0004
    with FORMATS["openpifpaf"].sink(tmp_path / "a.json", people.SPEC, "a.png") as put:
        put(*people.result(faint, 0))
    (person,) = load(tmp_path / "a.json")
    assert (person["keypoints"][2:9:3], person["score"]) == ([0.01, 0.46, 0], 0.001)
    path = write("openpifpaf", tmp_path, "photo.png")
    assert path.name == "photo.png.predictions.json"
    assert set(load(path)[0]) == {"keypoints", "bbox", "score", "category_id", "id_"}


def test_coco_is_read_by_pycocotools(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco").COCO()
    coco.dataset = {"images": [{"id": i} for i in range(3)], "annotations": [], "categories": [{"id": 1}]}
    coco.createIndex()
    results = coco.loadRes(str(write("coco", tmp_path)))
    assert len(results.loadAnns(results.getAnnIds(imgIds=[0]))) == 2
    assert load(write("coco", tmp_path, "b/000000000785.jpg"))[0]["image_id"] == 785
    with pytest.raises(PosertError, match="no number"):
        write("coco", tmp_path, "photo.jpg")


def test_a_dataset_is_read_by_pycocotools(tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    coco = COCO(write("coco-dataset", tmp_path) / "annotations" / "person_keypoints_default.json")
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == [
        f"frame_{frame:06d}.jpg" for frame in range(3)
    ]
    assert [len(coco.getAnnIds(imgIds=frame)) for frame in range(3)] == [2, 0, 1]
    (person,) = coco.loadCats(coco.getCatIds(catNms=["person"]))
    assert person["keypoints"] == list(people.SPEC.skeleton.names)
    assert person["skeleton"] == [[a + 1, b + 1] for a, b in people.SPEC.skeleton.edges]
    second = coco.loadAnns(coco.getAnnIds(imgIds=0))[1]
    assert second["keypoints"][:3] == [300.12, 110, 2]
    assert (second["num_keypoints"], second["attributes"]) == (17, {"track_id": 2})
    written = [
        cv2.imread(str(file)).shape for file in sorted((tmp_path / "walk.mp4.coco-dataset/images/default").iterdir())
    ]
    assert written == [(480, 640, 3)] * 3
    left, top, width, height = second["bbox"]
    box = RESULTS[0][1].poses.boxes_xyxy[1]
    assert [left, top, left + width, top + height] == pytest.approx(box.tolist(), abs=0.02)
    assert second["area"] == pytest.approx(width * height, abs=0.01)


def test_a_dataset_and_results_of_it_are_of_the_same_pictures(tmp_path: Path) -> None:
    """COCO's own evaluation of the results (`coco`) against the dataset made of them finds everybody."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO(write("coco-dataset", tmp_path) / "annotations" / "person_keypoints_default.json")
    found = truth.loadRes(str(write("coco", tmp_path)))
    measured = COCOeval(truth, found, "keypoints")
    measured.evaluate()
    measured.accumulate()
    measured.summarize()
    assert measured.stats[0] == 1


def test_keypoints_that_were_not_found_are_not_labelled(tmp_path: Path) -> None:
    frame, result = people.result(people.standing((100, 200)))
    result.poses.keypoints[0, 3] = 0
    with FORMATS["coco-dataset"].sink(tmp_path / "out", people.SPEC, "photo.jpg") as put:
        put(frame, replace(result, source="a/photo.jpg"))
    made = load(tmp_path / "out" / "annotations" / "person_keypoints_default.json")
    assert made["images"] == [{"id": 1, "file_name": "photo.jpg", "width": 640, "height": 480}]
    (person,) = made["annotations"]
    assert person["keypoints"][9:12] == [0, 0, 0]
    assert person["num_keypoints"] == 16
    assert "attributes" not in person


@pytest.mark.parametrize(
    ("source", "index", "number", "name"),
    [
        ("val/000000000139.jpg", 0, 139, "000000000139.jpg"),
        ("a/photo.PNG", 0, 1, "photo.PNG"),
        ("7.avif", 0, 7, "7.jpg"),
        ("7.avif", 2, 9, "frame_000002.jpg"),
        ("walk12.mp4", 0, 0, "frame_000000.jpg"),
        ("webcam:0", 1234567, 1234567, "frame_1234567.jpg"),
    ],
)
def test_what_a_dataset_calls_its_pictures(source: str, index: int, number: int, name: str) -> None:
    _, result = people.result(people.standing(), index, source=source)
    assert image_of(result) == {"id": number, "file_name": name, "width": 640, "height": 480}


def test_openpose_is_read_by_pose2sim(tmp_path: Path) -> None:
    """Its person association reads these files, for Sports2D too; it brings 2 GB, so most runs skip this."""
    why = "pip install pose2sim brings Qt, OpenSim and OpenVINO"
    read_json = pytest.importorskip("Pose2Sim.personAssociation", reason=why, exc_type=ImportError).read_json
    bounding_boxes = pytest.importorskip("Pose2Sim.common", reason=why, exc_type=ImportError).bounding_boxes
    last_number = pytest.importorskip(
        "Pose2Sim.common", reason=why, exc_type=ImportError
    ).sort_stringlist_by_last_number
    folder = write("openpose", tmp_path)
    files = [folder / name for name in last_number([path.name for path in folder.iterdir()])]
    found = [read_json(str(path)) for path in files]
    assert [len(people) for people in found] == [2, 0, 1]  # nobody is a file too, so that the frames stay in step
    first = in_parts(RESULTS[0][1].poses.keypoints, people.SKELETON, parts_of(people.SKELETON))[0]
    assert np.array(found[0][0]).reshape(-1, 3) == pytest.approx(first, abs=1e-3)
    assert len(bounding_boxes(str(files[0]))) == 2


def test_npz_loads_without_pickle(tmp_path: Path) -> None:
    with np.load(write("npz", tmp_path, features=True), allow_pickle=False) as file:
        arrays = dict(file)
    assert arrays["keypoints"].shape == (3, 2, 17, 3)
    assert arrays["keypoints"].dtype == np.float32
    assert np.array_equal(arrays["keypoints"][0], RESULTS[0][1].poses.keypoints)
    assert np.isnan(arrays["keypoints"][1]).all()
    assert np.isnan(arrays["keypoints"][2, 1]).all()
    assert arrays["ids"].tolist() == [[1, 2], [0, 0], [1, 0]]
    assert arrays["frame_index"].tolist() == [0, 1, 2]
    assert arrays["time_s"].tolist() == [0, 0.04, 0.08]
    assert arrays["names"].tolist() == list(people.SKELETON.names)
    assert arrays["velocities"].shape == (3, 2, 17, 2)
    assert arrays["velocities"][2, 0, 0] == pytest.approx([10 / 0.08 / 60, 0])
    assert arrays["angles"].shape == (3, 2, len(arrays["joints"]))
    assert json.loads(str(arrays["header"]))["model"] == "bright-spot"


def test_npz_of_nobody(tmp_path: Path) -> None:
    path = tmp_path / "empty.npz"
    with FORMATS["npz"].sink(path, people.SPEC, "walk.mp4") as put:
        put(*people.result(people.standing()))
    assert np.load(path)["keypoints"].shape == (1, 0, 17, 3)


def check_table(columns: dict[str, list[Any]]) -> None:
    assert columns["frame"] == [0, 0, 2]
    assert columns["id"] == [1, 2, 1]
    assert columns["nose_x"] == pytest.approx([100, 300.123456, 110])
    assert columns["nose_visible"] == [True] * 3
    assert columns["left_hip_velocity_x"][2] == pytest.approx(10 / 0.08 / 60)


def test_parquet_is_read_by_pyarrow(tmp_path: Path) -> None:
    reader = pytest.importorskip("pyarrow.parquet")
    table = reader.read_table(write("parquet", tmp_path, features=True))
    check_table(table.to_pydict())
    assert table["left_hip_velocity_x"].null_count == 2
    assert json.loads(table.schema.metadata[b"posert"])["skeleton"]["names"] == list(people.SKELETON.names)
    stored = reader.ParquetFile(tmp_path / "walk.mp4.parquet").metadata.metadata
    assert stored[b"posert.frames"] == b"3"
    assert b"posert" in stored


def test_parquet_is_read_by_pandas(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    check_table(pandas.read_parquet(write("parquet", tmp_path, features=True)).to_dict("list"))


def test_parquet_is_read_by_polars(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    polars = pytest.importorskip("polars")
    check_table(polars.read_parquet(write("parquet", tmp_path, features=True)).to_dict(as_series=False))


def test_parquet_is_read_by_duckdb(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    duckdb = pytest.importorskip("duckdb")
    found = duckdb.sql(f"select * from '{write('parquet', tmp_path, features=True)}' order by frame, id")
    check_table(
        {name: list(values) for name, values in zip(found.columns, zip(*found.fetchall(), strict=True), strict=True)}
    )


def read_trc(path: Path) -> tuple[dict[str, str], list[str], np.ndarray]:
    """The header, the markers, and rows [T,2+3K], NaN where a field is empty: as OpenSim and Pose2Sim read the file."""
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    assert lines[0] == ["PathFileType", "4", "(X/Y/Z)", path.name]
    markers = [name for name in lines[3][2:] if name]
    assert lines[3][2::3] == markers
    assert lines[4][2:] == [f"{axis}{number + 1}" for number in range(len(markers)) for axis in "XYZ"]
    rows = np.array([[float(cell or "nan") for cell in line] for line in lines[5:]])
    return dict(zip(lines[1], lines[2], strict=True)), markers, rows


def test_trc_is_a_file_for_each_id(tmp_path: Path) -> None:
    folder = write("trc", tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["walk_px_person01.trc", "walk_px_person02.trc"]
    about, markers, rows = read_trc(folder / "walk_px_person01.trc")
    assert about == {
        "DataRate": "25", "CameraRate": "25", "NumFrames": "3", "NumMarkers": "17", "Units": "px", "OrigDataRate": "25",
        "OrigDataStartFrame": "0", "OrigNumFrames": "3",
    }  # fmt: skip
    assert markers[:3] == ["Nose", "LEye", "REye"]
    assert rows[:, 0].tolist() == [0, 1, 2]
    assert rows[:, 1].tolist() == [0, 0.04, 0.08]
    assert rows[0, 2:5].tolist() == [100, 110, 0]
    assert np.isnan(rows[1, 2:]).all()  # away, and the row is there
    assert rows[2, 2:5].tolist() == [110, 110, 0]
    about, _, rows = read_trc(folder / "walk_px_person02.trc")
    assert (about["NumFrames"], len(rows)) == ("1", 1)


def test_trc_of_people_without_keypoints(tmp_path: Path) -> None:
    spec = replace(people.SPEC, skeleton=Skeleton((), ()))
    frame, result = people.result(people.standing((100, 200), ids=[1]))
    result = replace(result, poses=replace(result.poses, keypoints=np.zeros((1, 0, 3), np.float32)))
    with sink_of("trc")(tmp_path / "out", spec, "walk.mp4") as put:
        put(frame, result)
    assert (tmp_path / "out" / "walk_px_person01.trc").read_text().splitlines()[5:] == ["0\t0.000000"]


def test_trc_in_metres_has_y_upwards_from_the_pictures_corner(tmp_path: Path) -> None:
    """One scale for a person, whatever some frames say; turned so that the floor is level."""
    how = FeatureOptions(person_height_m=1.8)
    results = [people.result(people.standing((100, 200), ids=[3], size=1 if i else 0.5), i) for i in range(5)]
    results[2][1].poses.keypoints[0, 9] = 0
    made = {}
    for name, given in {"level": how, "turned": replace(how, floor_angle_deg=10)}.items():
        with sink_of("trc", featuring=given)(tmp_path / name, people.SPEC, "walk.mp4") as put:
            for frame, result in results:
                put(frame, result)
        about, _, rows = read_trc(tmp_path / name / "walk_m_person03.trc")
        assert about["Units"] == "m"
        made[name] = rows[:, 2:].reshape(5, 17, 3)
    tall = Stature(people.SKELETON.names)(people.STANDING[None])[0]
    nose = made["level"][1, 0]
    assert nose == pytest.approx([100 * 1.8 / tall, (480 - 110) * 1.8 / tall, 0], abs=1e-5)
    assert np.isnan(made["level"][2, 9]).all()
    angle = np.radians(10)
    turned = [nose[0] * np.cos(angle) + nose[1] * np.sin(angle), nose[1] * np.cos(angle) - nose[0] * np.sin(angle)]
    assert made["turned"][1, 0, :2] == pytest.approx(turned, abs=1e-4)


def test_csv_has_named_columns(tmp_path: Path) -> None:
    with write("csv", tmp_path, "a, b/walk.mp4", features=True).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:15] == [
        "source", "frame", "time_s", "width", "height", "person", "id", "score", "box_left", "box_top", "box_right",
        "box_bottom", "nose_x", "nose_y", "nose_score",
    ]  # fmt: skip
    assert {row["source"] for row in rows} == {"a, b/walk.mp4"}
    assert [(row["frame"], row["person"], row["id"]) for row in rows] == [
        ("0", "0", "1"),
        ("0", "1", "2"),
        ("2", "0", "1"),
    ]
    assert [row["nose_x"] for row in rows] == ["100", "300.12", "110"]
    assert [row["nose_score"] for row in rows] == ["0.9"] * 3
    assert [row["left_hip_velocity_x"] for row in rows] == ["", "", "2.08333"]
    featuring = Featuring(people.SKELETON)
    angles = len(featuring.joints) + len(featuring.segment_names) + 1
    assert len(rows[0]) == 12 + 3 * 17 + 2 * 2 * 17 + angles + 17


def test_csv_says_what_the_lines_say(tmp_path: Path) -> None:
    """Every number, with features and without ids; frames without people only if asked for."""
    frames = [json.loads(line) for line in write("jsonl", tmp_path).read_text().splitlines()][1:]
    expected = [
        [frame["time_s"], person["id"], person["score"], *person["box_xyxy"], *np.ravel(person["keypoints"])]
        for frame in frames
        for person in frame["people"]
    ]
    text = write("csv", tmp_path).read_text()
    rows = list(csv.reader(text.splitlines()))[1:]
    assert [[float(row[2]), *map(float, row[6:])] for row in rows] == expected
    more = write("csv", tmp_path, empty=True).read_text().splitlines()
    assert more[3] == "walk.mp4,1,0.04,640,480" + "," * (len(rows[0]) - 5)
    assert more[:3] + more[4:] == text.splitlines()


def write_without_ids(form: str, path: Path) -> None:
    with FORMATS[form].sink(path, people.SPEC, "walk.mp4") as put:
        frame, result = people.result(people.standing((100, 200)))
        put(frame, with_maps(result, RNG))


@pytest.mark.parametrize("form", FORMATS)
def test_without_ids_and_features(form: str, tmp_path: Path) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow")
    if FORMATS[form].ids:
        with pytest.raises(PosertError, match="people have none"):
            write_without_ids(form, tmp_path / "out")
        return
    write_without_ids(form, tmp_path / "out")
    if form == "openpose":
        document = load(tmp_path / "out" / "walk_000000000000_keypoints.json")
        assert document["people"][0]["person_id"] == [-1]
    if form == "csv":
        assert (tmp_path / "out").read_text().splitlines()[1].split(",")[5:8] == ["0", "", "0.9"]
    assert (tmp_path / "out").exists()
