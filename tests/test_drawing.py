"""How people are drawn: the look without an option stays what it was, and what each option changes."""

import colorsys
import json
import re
from dataclasses import fields, replace
from pathlib import Path

import cv2
import media
import numpy as np
import pytest
from command import ROOT, Run, rows

from posert import DrawOptions, Frame, PosertError, Poses, Result, draw, drawer
from posert.runtime.files.overlay import split_pattern
from posert.runtime.files.palettes import palette_of
from posert.skeletons import AP_10K_17, BODY_25, COCO_17, COCO_WHOLE_BODY_133, HAND_21, MPI_15, OPENPOSE_18

RNG = np.random.default_rng(3)
GREY = np.full((300, 400, 3), 60, np.uint8)


def person(names: tuple[str, ...] = COCO_17.names, x: float = 100, size: float = 1, found: float = 0.9) -> np.ndarray:
    """f32 [K,3]: everything far apart, on a grid of its own."""
    places = [(x + 12 * (k % 9), 40 + 22 * (k // 9), found) for k in range(len(names))]
    return np.array(places, np.float32) * (size, size, 1)


def people(*each: np.ndarray, ids: list[int] | None = None) -> Poses:
    points = np.stack(each).astype(np.float32)
    boxes = np.concatenate([points[:, :, :2].min(1), points[:, :, :2].max(1)], axis=1)
    keys = None if ids is None else np.array(ids, np.int32)
    return Poses(points, np.full(len(points), 0.75, np.float32), boxes, keys)


def at(picture: np.ndarray, x: float, y: float) -> tuple[int, ...]:
    """Red, green, blue of a pixel."""
    return tuple(picture[round(y), round(x), ::-1].tolist())


def drawn_before(bgr: np.ndarray, poses: Poses, skeleton) -> np.ndarray:
    """What 0.1.0 drew before there were options."""
    canvas = bgr.copy()
    thickness = max(1, round(max(canvas.shape[:2]) / 250))
    for points, box, key in zip(poses.keypoints, poses.boxes_xyxy, poses.ids, strict=True):
        places = [tuple((np.clip(point[:2], -1e6, 1e6) * 16).astype(int).tolist()) for point in points]
        for limb, (a, b) in enumerate(skeleton.edges):
            rgb = colorsys.hsv_to_rgb(limb / len(skeleton.edges), 0.9, 1.0)
            if min(points[a, 2], points[b, 2]) > 0:
                color = tuple(int(255 * value) for value in rgb[::-1])
                cv2.line(canvas, places[a], places[b], color, thickness, cv2.LINE_AA, 4)
        for point, place in zip(points, places, strict=True):
            if point[2] > 0:
                cv2.circle(canvas, place, (thickness + 1) << 4, (255, 255, 255), -1, cv2.LINE_AA, 4)
        corner = tuple(box[:2].round().astype(int).tolist())
        cv2.putText(canvas, str(key), corner, cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2)
    return canvas


@pytest.mark.parametrize("skeleton", [COCO_17, BODY_25, COCO_WHOLE_BODY_133, HAND_21])
@pytest.mark.parametrize("size_wh", [(64, 48), (640, 360), (1280, 720)])
def test_the_look_without_options_is_what_it_was(skeleton, size_wh: tuple[int, int]) -> None:
    bgr = RNG.integers(0, 255, (size_wh[1], size_wh[0], 3), np.uint8)
    points = RNG.uniform(-0.1, 1.1, (4, len(skeleton.names), 3)) * (*size_wh, 1)
    points[points[:, :, 2] < 0.2] = 0
    poses = people(*points, ids=[3, 1, 12, 7])
    assert np.array_equal(draw(bgr, poses, skeleton), drawn_before(bgr, poses, skeleton))
    frame = Frame(bgr)
    result = Result(0, 0.0, frame.size_wh, "a", poses, {})
    assert np.array_equal(drawer(skeleton)(frame, result), drawn_before(bgr, poses, skeleton))


def test_small_hands_are_drawn_finer() -> None:
    """Bones of 8 px are 2 px wide; the body's own points stay as large as the picture asks."""
    names = COCO_WHOLE_BODY_133.names
    points = np.zeros((len(names), 3), np.float32)
    for name, place in {"left_wrist": (100, 100), "left_hand_root": (300, 100), "left_thumb1": (300, 108)}.items():
        points[names.index(name)] = (*place, 0.9)
    drawn = draw(np.zeros((720, 1280, 3), np.uint8), people(points), COCO_WHOLE_BODY_133)
    assert at(drawn, 105, 100) == (255, 255, 255)
    assert at(drawn, 305, 100) == at(drawn, 303, 104) == (0, 0, 0)
    assert at(drawn, 301, 100) == (255, 255, 255)


def test_the_threshold() -> None:
    points = person()
    points[3] = 50, 200, 0.29
    kept = draw(GREY, people(points), COCO_17, threshold=0.3)
    assert at(kept, *points[4, :2]) == (255, 255, 255)
    assert at(kept, *points[3, :2]) == (60, 60, 60)
    points[5, 2] = 0
    assert at(draw(GREY, people(points), COCO_17, threshold=-1), *points[5, :2]) == (60, 60, 60)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_lengths_grow_with_the_picture(size: int) -> None:
    """4 px and 8 px in a picture of 1000 px."""
    canvas = np.zeros((500 * size, 1000 * size, 3), np.uint8)
    points = np.zeros((17, 3), np.float32)
    points[11], points[13] = (100, 250, 1), (900, 250, 1)  # a limb across
    picture = draw(canvas, people(points * (size, size, 1)), COCO_17, line_width=8, radius=20)
    assert np.count_nonzero(picture[:, 500 * size].max(axis=1) > 127) == pytest.approx(8 * size, abs=1)
    assert np.count_nonzero(picture[:, 900 * size].max(axis=1) > 127) == pytest.approx(40 * size, abs=2)
    bare = draw(canvas, people(points * (size, size, 1)), COCO_17, line_width=0, radius=0)
    assert not bare.any()


HUES = [(255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85),
        (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255),
        (255, 0, 255), (255, 0, 170), (255, 0, 85)]  # fmt: skip


def rgb(colors) -> list[tuple[int, ...]]:
    return [color[::-1] for color in colors]


def limb_colors(palette) -> dict[tuple[str, ...], tuple[int, ...]]:
    names = palette.skeleton.names
    return {
        tuple(names[k] for k in edge): color[::-1]
        for edge, color in zip(palette.skeleton.edges, palette.limbs, strict=True)
    }


def test_the_colours_of_openpose() -> None:
    """18 parts and 17 limbs, each 20 degrees further on the circle of hues, as in the pictures that OpenPose draws of
    COCO's keypoints; ears and shoulders are not joined."""
    palette = palette_of(OPENPOSE_18, "openpose")
    assert rgb(palette.points) == HUES
    assert palette.skeleton.edges == OPENPOSE_18.edges[:17]
    assert rgb(palette.limbs) == HUES[:17]


@pytest.mark.parametrize("skeleton", [COCO_17, OPENPOSE_18, BODY_25, MPI_15, COCO_WHOLE_BODY_133])
def test_openpose_draws_any_whole_body(skeleton) -> None:
    """The neck that COCO lacks lies between the shoulders; the same parts have the same colours in every set."""
    points = np.stack([person(skeleton.names)])
    palette = palette_of(skeleton, "openpose")
    placed = palette.keypoints(points)[0]
    names = palette.skeleton.names
    assert placed.shape == (len(names), 3)
    expected = points[0][[skeleton.names.index(f"{side}_shoulder") for side in ("left", "right")]].mean(axis=0)
    if "neck" not in skeleton.names:
        assert placed[names.index("neck")] == pytest.approx(expected)
    colors = dict(zip(names, palette.points, strict=True))
    limbs = limb_colors(palette)
    assert colors["left_wrist"][::-1] == (0, 255, 85)
    assert limbs["right_knee", "right_ankle"] == (0, 255, 170)
    assert limbs["neck", "right_shoulder"] == (255, 0, 0)


def test_openpose_draws_hands_and_faces() -> None:
    palette = palette_of(COCO_WHOLE_BODY_133, "openpose")
    names, edges = palette.skeleton.names, palette.skeleton.edges
    assert len(names) == 25 + 68 + 42
    colors = dict(zip(names, rgb(palette.points), strict=True))
    assert (colors["face_3"], colors["left_thumb1"], colors["right_hand_root"]) == (
        (255,) * 3,
        (0, 0, 255),
        (0, 0, 255),
    )
    hand = [color for edge, color in zip(edges, palette.limbs, strict=True) if names[edge[1]].startswith("left_pinky")]
    assert len(set(hand)) == 4


@pytest.mark.parametrize("skeleton", [AP_10K_17, HAND_21])
@pytest.mark.parametrize("palette", ["openpose", "coco", "people"])
def test_other_skeletons_keep_their_limbs(skeleton, palette) -> None:
    chosen = palette_of(skeleton, palette)
    assert chosen.skeleton == skeleton
    assert chosen.limbs is None or len(chosen.limbs) == len(skeleton.edges)
    draw(GREY, people(person(skeleton.names)), skeleton, palette=palette, names=True)


def test_the_colours_of_coco() -> None:
    palette = palette_of(COCO_17, "coco")
    colors = dict(zip(COCO_17.names, rgb(palette.points), strict=True))
    limbs = {
        tuple(COCO_17.names[k] for k in edge): color[::-1]
        for edge, color in zip(COCO_17.edges, palette.limbs, strict=True)
    }
    left, right, middle = (0, 255, 0), (255, 128, 0), (51, 153, 255)
    assert (colors["nose"], colors["left_ear"], colors["left_shoulder"], colors["right_ankle"]) == (
        middle,
        middle,
        left,
        right,
    )
    assert limbs["left_knee", "left_ankle"] == left
    assert limbs["right_shoulder", "right_elbow"] == right
    assert limbs["left_hip", "right_hip"] == limbs["left_shoulder", "left_hip"] == middle


def test_one_colour_a_person() -> None:
    """It stays with the id, whatever the place."""
    one, other = person(), person(x=250)
    first = draw(GREY, people(one, other, ids=[4, 9]), COCO_17, palette="people")
    again = draw(GREY, people(other, one, ids=[9, 4]), COCO_17, palette="people")
    for points in (one, other):
        assert at(first, *points[9, :2]) == at(again, *points[9, :2])
    assert at(first, *one[9, :2]) != at(first, *other[9, :2])


@pytest.mark.parametrize(("background", "value"), [("black", 0), ("white", 255)])
def test_the_background(background: str, value: int) -> None:
    picture = draw(GREY, people(person(), ids=[1]), COCO_17, background=background)
    assert at(picture, 5, 5) == (value,) * 3
    assert np.abs(picture.astype(int) - value).max() > 200


def test_alpha_lets_the_picture_through() -> None:
    points = person()
    picture = draw(GREY, people(points), COCO_17, alpha=0.5, radius=8)
    assert at(picture, *points[4, :2]) == pytest.approx((158, 158, 158), abs=2)
    assert at(picture, 5, 5) == (60, 60, 60)


def test_boxes_labels_and_names_are_there() -> None:
    poses = people(person(), ids=[7])
    plain = draw(GREY, poses, COCO_17, ids=False)
    for changes in ({"boxes": True}, {"labels": True}, {"names": True}, {"numbers": True}, {"ids": True}):
        picture = draw(GREY, poses, COCO_17, **({"ids": False} | changes))
        assert not np.array_equal(picture, plain)
    left, top, right, bottom = poses.boxes_xyxy[0]
    boxed = draw(GREY, poses, COCO_17, boxes=True, ids=False, line_width=0, radius=0)
    for x, y in ((left, (top + bottom) / 2), (right, top), ((left + right) / 2, bottom)):
        assert at(boxed, x, y) != (60, 60, 60)
    assert at(boxed, (left + right) / 2, (top + bottom) / 2) == (60, 60, 60)


@pytest.mark.parametrize("x", [-40, 380])
def test_labels_stay_in_the_picture(x: float) -> None:
    """A person half outside; the text is as wide as elsewhere."""

    def ink(poses: Poses) -> int:
        return np.count_nonzero((draw(GREY, poses, COCO_17, labels=True, line_width=0, radius=0) != 60).any(axis=2))

    inside, outside = people(person(), ids=[7]), people(person(x=x), ids=[7])
    outside = replace(outside, boxes_xyxy=outside.boxes_xyxy - np.float32([0, 60, 0, 60]))
    assert ink(outside) == pytest.approx(ink(inside), rel=0.1)


@pytest.mark.parametrize("far", [1e7, 1e12, 3e38, -3e38])
@pytest.mark.parametrize("palette", ["limbs", "openpose", "coco", "people"])
def test_places_far_outside_are_no_error(far: float, palette: str) -> None:
    """An id at 1e12 px ended the video: OpenCV takes 32 bits."""
    points = person()
    points[::2, :2] = far
    poses, frame = people(points, ids=[1]), Frame(GREY)
    for labels in (False, True):
        options = DrawOptions(palette=palette, boxes=True, labels=labels, names=True, numbers=True, trails=1, alpha=0.5)
        draws = drawer(COCO_17, options)
        for step in range(2):
            draws(frame, Result(step, step / 10, frame.size_wh, "a", poses, {}))


def test_trails_show_the_last_seconds() -> None:
    draws = drawer(COCO_17, trails=1, line_width=6, ids=False, radius=0)
    for step in range(30):
        points = person(x=20 + 10 * step)
        frame = Frame(GREY, step, step / 10)
        result = Result(step, step / 10, frame.size_wh, "a", people(points, ids=[1]), {})
        picture = draws(frame, result)
    hips = points[[11, 12], :2].mean(axis=0)
    back = [at(picture, hips[0] - 10 * steps - 5, hips[1]) for steps in range(15)]
    assert all(color != (60, 60, 60) for color in back[1:9])
    assert all(color == (60, 60, 60) for color in back[11:])


def test_trails_need_ids_and_a_video() -> None:
    frame = Frame(GREY)
    with pytest.raises(PosertError, match="by their ids"):
        drawer(COCO_17, trails=1)(frame, Result(0, 0.0, frame.size_wh, "a", people(person()), {}))
    with pytest.raises(PosertError, match="poses alone have neither"):
        draw(GREY, people(person(), ids=[1]), COCO_17, DrawOptions(trails=1))


WRONG = [("zap", "--draw zap = True"), ("palette=red", "limbs | openpose | coco | people"), ("alpha=2", "from 0 to 1"),
         ("threshold=high", "a number"), ("boxes=3", "true or false"), ("=3", "expected one of the keys"),
         ("line_width=-1", "from 0 to 1000")]  # fmt: skip


@pytest.mark.parametrize(("given", "message"), WRONG)
def test_wrong_options_are_said(run: Run, model: Path, tmp_path: Path, given: str, message: str) -> None:
    code, _, err = run(
        "infer", model, media.video(tmp_path / "a.mp4"), "--overlay", tmp_path / "b.mp4", "--draw", given
    )
    assert code == 1
    assert message.replace("a number", "a finite number") in err
    assert "hint: " in err


def test_what_is_drawn_nowhere_is_said(run: Run, model: Path, tmp_path: Path) -> None:
    code, _, err = run("infer", model, media.video(tmp_path / "a.mp4"), "--draw", "boxes")
    assert code == 1
    assert "--draw draws nothing without --overlay" in err


def test_the_command_draws_as_python_does(run: Run, model: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), media.numbered(3, (200, 160)))
    given = ["boxes", "labels", "palette=openpose", "threshold=.05", "background=black", "line-width=9"]
    flags = [word for text in given for word in ("--draw", text)]
    assert (
        run("infer", model, tmp_path / "a.png", "-o", tmp_path / "a.jsonl", "--overlay", tmp_path / "b.png", *flags)[0]
        == 0
    )
    from posert import estimate_image, frames, open_model

    (frame,) = frames(tmp_path / "a.png")
    with open_model(model) as opened:
        found = estimate_image(opened, frame)
        options = DrawOptions(
            boxes=True, labels=True, palette="openpose", threshold=0.05, background="black", line_width=9
        )
        expected = draw(frame.bgr, found.poses, opened.spec.skeleton, options)
    assert np.array_equal(cv2.imread(str(tmp_path / "b.png")), expected)


def test_a_picture_of_each_frame(run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbered as the results' frames; the folder is replaced as a whole by the next run, and nobody else's is."""
    monkeypatch.chdir(tmp_path)
    media.video(Path("a.mp4"), count=7)
    args = ["infer", model, "a.mp4", "-o", "a.jsonl", "--overlay", "drawn/f_%03d.png"]
    for _ in range(2):
        assert run(*args, "--stride", 3)[0] == 0
        assert sorted(path.name for path in Path("drawn").iterdir()) == ["f_000.png", "f_003.png", "f_006.png"]
    assert [json.loads(line)["frame"] for line in Path("a.jsonl").read_text().splitlines()[1:]] == [0, 3, 6]
    assert cv2.imread("drawn/f_003.png").shape == (48, 64, 3)
    Path("drawn/mine.txt").write_text("mine")
    code, _, err = run(*args)
    assert code == 1
    assert "holds what posert did not write" in err
    assert Path("drawn/mine.txt").read_text() == "mine"


def test_pictures_of_frames_of_several_videos(
    run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder each; another name for the pictures, or another look, is another run, the same is finished."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for name in ("a", "b"):
        media.video(Path(f"in/{name}.mp4"), count=3)
    args = ["infer", model, "in", "-o", "out", "--resume", "--overlay"]
    assert run(*args, "drawn/%d.jpg")[0] == 0
    names = sorted(str(path.relative_to("drawn")) for path in Path("drawn").rglob("*.jpg"))
    assert names == [f"{name}.mp4/{number}.jpg" for name in "ab" for number in range(3)]
    assert "2 sources were finished before" in run(*args, "drawn/%d.jpg")[2]
    assert "finished before" not in run(*args, "drawn/%04d.jpg")[2]
    assert Path("drawn/a.mp4/0002.jpg").is_file()
    assert not Path("drawn/a.mp4/2.jpg").exists()
    assert "finished before" not in run(*args, "drawn/%04d.jpg", "--draw", "boxes")[2]
    assert "2 sources were finished before" in run(*args, "drawn/%04d.jpg", "--draw", "boxes=true")[2]


def test_a_manifest_from_before_drawing_had_options(run: Run, model: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    media.video(Path("in/a.mp4"), count=3)
    args = ["infer", model, "in", "-o", "out", "--overlay", "drawn", "--resume"]
    assert run(*args)[0] == 0
    kept = rows(Path("out"))
    for row in kept:
        del row["settings"]["drawing"]
    Path("out/manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    assert "1 sources were finished before" in run(*args)[2]
    assert "finished before" not in run(*args, "--draw", "threshold=.5")[2]


@pytest.mark.parametrize("name", ["%06d.jpg", "drawn/%06d.mp4", "drawn/%d_%d.jpg", "drawn/%d"])
def test_names_that_are_no_pictures_of_frames(name: str) -> None:
    with pytest.raises(PosertError, match="names no pictures of frames"):
        split_pattern(Path(name))


def test_a_percent_sign_is_no_number() -> None:
    assert split_pattern(Path("drawn/50%.jpg")) == (Path("drawn/50%.jpg"), "")


DOC = (ROOT / "docs" / "drawing.md").read_text(encoding="utf-8")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the document names."""
    monkeypatch.chdir(tmp_path)
    media.video(Path("walk.mp4"), count=15)
    cv2.imwrite("photo.jpg", media.numbered(3, (320, 240)))
    Path("videos").mkdir()
    media.video(Path("videos/a.mp4"), count=2)
    return tmp_path


@pytest.mark.parametrize("command", re.findall(r"^posert .*", DOC, re.MULTILINE))
def test_the_commands_of_the_document(run: Run, place: Path, command: str) -> None:
    code, _, err = run(*command.split()[1:])
    assert code == 0, err
    written = Path(command.split("--overlay ")[1].split()[0])
    assert written.exists() or list(written.parent.rglob("*.jpg"))


def test_the_program_of_the_document(place: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)
    names: dict = {}
    exec(program, names)
    assert names["picture"].shape == (240, 320, 3)


def test_the_document_has_every_option() -> None:
    table = DOC.partition("| option |")[2].partition("\n\n")[0]
    assert {field.name for field in fields(DrawOptions)} - {"maps"} == set(re.findall(r"`(\w+)[=`]", table)) - {
        "white",
        "all",
    }
