"""Ankles, segments, the floor's angle, degrees and metres: by hand, and the same in every file."""

import json
from dataclasses import replace
from pathlib import Path

import media
import numpy as np
import people
import pytest
from command import Run

from posert.errors import PosertError
from posert.poses import Poses
from posert.runtime.after.body import SHANK, THIGH, TRUNK, Floor, Stature
from posert.runtime.after.features import Featuring
from posert.runtime.after.options import FeatureOptions
from posert.runtime.files.formats import sink_of
from posert.skeletons import BODY_25, COCO_17, HALPE_26

NAMES = people.SKELETON.names
AT = {name: number for number, name in enumerate(NAMES)}
HEIGHT_PX = (60 + np.hypot(1, 45) + np.hypot(1, 43)) / (TRUNK + THIGH + SHANK)  # of people.STANDING


def measured(poses: Poses, time_s: float = 0.0, **options: float) -> dict[str, np.ndarray]:
    features = Featuring(people.SKELETON, FeatureOptions(**options))(poses, time_s, (640, 480))
    found = {name: getattr(features, name) for name in ("angles", "segments", "floor_angle", "metres", "metres_per_px")}
    return found | dict(zip(features.segment_names, features.segments.T, strict=True))


def test_segments_by_hand() -> None:
    """A standing person: legs and arms point up from their far end, hips and shoulders are level."""
    found = measured(people.standing((100, 200), ids=[1]), degrees=True)
    for name, expected in {
        "left_shank": np.degrees(np.arctan2(43, 1)),
        "right_shank": 180 - np.degrees(np.arctan2(43, 1)),
        "left_thigh": np.degrees(np.arctan2(45, 1)),
        "trunk": 90,
        "left_forearm": np.degrees(np.arctan2(30, 2)),
        "left_arm": np.degrees(np.arctan2(30, 8)),
        "pelvis": 0,
        "shoulders": 0,
    }.items():
        assert found[name][0] == pytest.approx(expected, abs=1e-4), name


def test_which_segments_and_joints_a_skeleton_has() -> None:
    """Ankles need toes, feet need heels too, the head its top: COCO has none of them, HALPE has all."""
    assert len(Featuring(COCO_17).segment_names) == 11
    more = set(Featuring(HALPE_26).segment_names) - set(Featuring(COCO_17).segment_names)
    assert more == {"left_foot", "right_foot", "head"}
    assert len(Featuring(HALPE_26).segment_names) == 14
    ankles = {"left_ankle", "right_ankle"}
    assert not ankles & set(Featuring(COCO_17).joints)
    assert ankles <= set(Featuring(BODY_25).joints)


def test_an_ankle_by_hand() -> None:
    """The foot at a right angle to the shank."""
    keypoints = np.zeros((1, 25, 3), np.float32)
    for name, place in {
        "left_knee": (0, 0),
        "left_ankle": (0, 50),
        "left_big_toe": (20, 50),
        "left_heel": (-5, 50),
    }.items():
        keypoints[0, BODY_25.names.index(name)] = (*place, 1)
    poses = Poses(keypoints, np.ones(1, np.float32), np.zeros((1, 4), np.float32))
    found = Featuring(BODY_25, FeatureOptions(degrees=True))(poses, 0.0, (640, 480))
    assert found.angles[0, found.joints.index("left_ankle")] == pytest.approx(90)
    assert found.segments[0, found.segment_names.index("left_foot")] == pytest.approx(0)
    assert np.isnan(found.angles[0, found.joints.index("right_ankle")])


def test_degrees_are_radians_times_a_number() -> None:
    poses = people.standing((100, 200), (300, 220), ids=[1, 2])
    radians, degrees = measured(poses), measured(poses, degrees=True)
    for name in ("angles", "segments"):
        assert degrees[name] == pytest.approx(np.degrees(radians[name]), abs=1e-3)


def test_metres_are_by_the_persons_own_height() -> None:
    """The same person twice as far away has the same metres."""
    poses = people.standing((100, 200), ids=[1])
    far = people.standing((300, 100), size=0.5, ids=[1])
    near_m, far_m = measured(poses, person_height_m=1.8), measured(far, person_height_m=1.8)
    assert near_m["metres_per_px"][0] == pytest.approx(1.8 / HEIGHT_PX)
    assert far_m["metres_per_px"][0] == pytest.approx(2 * 1.8 / HEIGHT_PX)
    assert far_m["metres"] == pytest.approx(near_m["metres"], abs=1e-6)
    step = near_m["metres"][0, AT["right_ankle"]] - near_m["metres"][0, AT["left_ankle"]]
    assert step == pytest.approx([28 * 1.8 / HEIGHT_PX, 0])
    assert measured(poses)["metres"] is None


def test_a_bent_knee_makes_nobody_shorter_and_a_short_look_neither() -> None:
    stature, points = Stature(NAMES), people.STANDING[None].copy()
    assert stature(points)[0] == pytest.approx(HEIGHT_PX)
    for side, turned in (("left", 43), ("right", -43)):
        points[0, AT[f"{side}_ankle"]] = points[0, AT[f"{side}_knee"]] + [turned, 1]
    assert stature(points)[0] == pytest.approx(HEIGHT_PX)
    featuring = Featuring(people.SKELETON, FeatureOptions(person_height_m=1.8))
    for frame in range(20):
        poses = people.standing((100, 200), ids=[1], size=0.6 if frame % 3 == 0 else 1.0)
        found = featuring(poses, frame / 25, (640, 480))
    assert found.metres_per_px is not None
    assert found.metres_per_px[0] == pytest.approx(1.8 / HEIGHT_PX, rel=1e-5)


@pytest.mark.parametrize(("lost", "known"), [((), True), (("left_ankle", "left_knee"), True), (("left_hip",), False)])
def test_what_a_height_needs(lost: tuple[str, ...], known: bool) -> None:
    points = people.STANDING[None].copy()
    for name in lost:
        points[0, AT[name]] = np.nan
    assert np.isfinite(Stature(NAMES)(points)[0]) == known
    upper = np.where(np.array(["knee" in name or "ankle" in name for name in NAMES])[:, None], np.nan, points)
    assert np.isfinite(Stature(NAMES)(upper)[0]) == known  # the trunk alone will do
    assert np.isnan(Stature(("nose",))(points[:, :1])).all()


def walk(slope_deg: float, *, steps: int = 8, depth_px: float = 0.0) -> float:
    """The floor's angle that `Floor` says, degrees, of somebody who walks to the right on such a floor."""
    floor, places = Floor(NAMES), [np.array([0.0, 0.0]), np.array([40.0, depth_px])]
    rise = np.array([80.0, -80 * np.tan(np.radians(slope_deg))])
    said, time_s = float("nan"), 0.0
    for step in range(steps):
        begin = places[step % 2]
        for frame in range(16):
            share = min(max(frame - 8, 0) / 6, 1)  # stands for 8 frames, swings for 6
            places[step % 2] = begin + share * rise
            points = np.full((1, 17, 2), np.nan)
            points[0, [AT["left_ankle"], AT["right_ankle"]]] = places
            said = floor(points, [7], time_s, np.array([60.0]))
            time_s += 1 / 25
    return float(np.degrees(said))


@pytest.mark.parametrize("slope_deg", [-4.0, 0.0, 2.5])
def test_the_floors_angle_by_where_the_feet_stood(slope_deg: float) -> None:
    """Whatever lies between the two feet in the picture, since one of them is farther away."""
    assert walk(slope_deg) == pytest.approx(slope_deg, abs=0.05)
    assert walk(slope_deg, depth_px=15) == pytest.approx(slope_deg, abs=0.05)
    assert np.isnan(walk(slope_deg, steps=1))


def test_segments_and_metres_on_a_floor_that_is_not_level() -> None:
    """The picture of a standing person turned by 5 degrees, and the floor said to be at 5 degrees."""
    angle = np.radians(5)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    poses = people.standing((0, 0), ids=[1])
    poses.keypoints[0, :, :2] = poses.keypoints[0, :, :2] @ turn
    level = measured(people.standing((0, 0), ids=[1]), person_height_m=1.8)
    tilted = measured(poses, person_height_m=1.8, floor_angle_deg=5)
    assert tilted["segments"] == pytest.approx(level["segments"], abs=1e-5)
    assert tilted["metres"] == pytest.approx(level["metres"], abs=1e-5)


def test_every_file_has_them_under_the_same_names(tmp_path: Path) -> None:
    """In degrees the names say so; metres are there if a height is."""
    featuring = Featuring(people.SKELETON, FeatureOptions(degrees=True, person_height_m=1.8))
    frame, result = people.result(people.standing((100, 200), ids=[1]))
    result = replace(result, features=featuring(result.poses, 0.0, (640, 480)))
    for form in ("jsonl", "npz", "csv"):
        with sink_of(form)(tmp_path / form, people.SPEC, "walk.mp4") as put:
            put(frame, result)
    said = json.loads((tmp_path / "jsonl").read_text().splitlines()[1])["people"][0]["features"]
    assert set(said) == {
        "normalised", "velocities", "angles_deg", "visible", "segments_deg", "floor_angle_deg", "metres",
        "metres_per_px",
    }  # fmt: skip
    assert said["segments_deg"]["trunk"] == 90
    assert said["floor_angle_deg"] is None
    with np.load(tmp_path / "npz") as arrays:
        trunk = arrays["segment_names"].tolist().index("trunk")
        assert arrays["segments_deg"][0, 0, trunk] == pytest.approx(90)
        assert arrays["metres"][0, 0] == pytest.approx(np.array(said["metres"]), abs=1e-5)
        assert "angles" not in arrays
    names, row = (line.split(",") for line in (tmp_path / "csv").read_text().splitlines())
    columns = dict(zip(names, row, strict=True))
    assert float(columns["trunk_segment_angle_deg"]) == 90
    assert float(columns["left_elbow_angle_deg"]) == said["angles_deg"]["left_elbow"]
    assert columns["floor_angle_deg"] == ""
    assert float(columns["nose_m_y"]) == said["metres"][0][1]


@pytest.mark.parametrize(
    ("options", "named"), [({"person_height_m": 4}, "person_height_m"), ({"degrees": 2}, "degrees")]
)
def test_options_that_make_no_sense(options: dict, named: str) -> None:
    with pytest.raises(PosertError, match=named):
        FeatureOptions(**options)


def test_by_the_command_line(run: Run, model: Path, tmp_path: Path) -> None:
    video = media.video(tmp_path / "a.mp4", count=3)
    code, out, err = run("infer", model, video, "--features", "--person-height", 1.8, "--set", "features.degrees=true")
    assert code == 0, err
    features = json.loads(out.splitlines()[1])["people"][0]["features"]
    assert {"angles_deg", "segments_deg", "floor_angle_deg", "metres", "metres_per_px"} <= features.keys()
    code, _, err = run("infer", model, video, "--person-height", 1.8)
    assert code == 1
    assert "features.person_height_m changes nothing: --features is not asked for" in err
    assert "hint: add --features" in err
