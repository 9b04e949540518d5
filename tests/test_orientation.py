"""Pictures that are turned as they are read: results, overlays, reports and comparisons are of the turned picture."""

import base64
import json
import re
from pathlib import Path

import cv2
import media
import numpy as np
import pytest
import recordings
from command import Run
from pages_open import Open, shot

from posert.pages.report import write_report
from posert.runtime.files.results import read_results
from posert.runtime.media.orientation import Orientation
from posert.runtime.media.read import frames

ASKED = ["--rotate", "90", "--mirror"]
TURNED = Orientation(90, True)


def held(page: Path, block: str) -> Path:
    """The file that lies in a page."""
    found = re.search(f'id="{block}"[^>]*>([^<]+)<', page.read_text())
    assert found
    made = page.with_name("held.mp4")
    made.write_bytes(base64.b64decode(found[1]))
    return made


@pytest.mark.parametrize("form", ["jsonl", "json", "npz"])
def test_results_say_so_and_are_those_of_the_turned_picture(run: Run, tmp_path: Path, form: str, golden: Path) -> None:
    picture = cv2.imread(str(golden.parent.parent / "docs" / "overlay.png"))
    cv2.imwrite(str(tmp_path / "a.png"), cv2.rotate(cv2.flip(picture, 1), cv2.ROTATE_90_COUNTERCLOCKWISE))
    cv2.imwrite(str(tmp_path / "upright.png"), picture)
    out = [tmp_path / f"{name}.{form}" for name in ("turned", "upright")]
    assert run("infer", "nano", tmp_path / "a.png", "-o", out[0], "--format", form, *ASKED)[0] == 0
    assert run("infer", "nano", tmp_path / "upright.png", "-o", out[1], "--format", form)[0] == 0
    turned, upright = map(read_results, out)
    assert (turned.orientation, upright.orientation) == (TURNED, Orientation())
    (one,), (other,) = turned.results, upright.results
    assert one.size_wh == other.size_wh == picture.shape[1::-1]
    assert len(one.poses) > 1
    np.testing.assert_array_equal(one.poses.keypoints, other.poses.keypoints)
    if form != "npz":
        assert b"rotate" not in out[1].read_bytes()


def test_parquet_says_so(run: Run, model: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    video, made = media.video(tmp_path / "a.mp4", count=3), tmp_path / "a.parquet"
    assert run("infer", model, video, "-o", made, "--format", "parquet", *ASKED)[0] == 0
    header = json.loads(parquet.read_schema(made).metadata[b"posert"])
    assert (header["rotate"], header["mirror"]) == (90, True)


def test_an_overlay_shows_the_turned_video(run: Run, model: Path, tmp_path: Path) -> None:
    video = media.video(tmp_path / "a.mp4", count=3)
    command = ["infer", model, video, "-o", tmp_path / "a.jsonl", "--overlay", tmp_path / "o.mp4", "--rotate", "180"]
    assert run(*command)[0] == 0
    drawn = next(frames(tmp_path / "o.mp4")).bgr
    assert drawn[-5, -5].min() > 150
    assert drawn[5, 5].max() < 100


def test_what_is_no_angle_is_said_before_anything_is_done(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    media.video(tmp_path / "videos" / "a.mp4", count=3)
    code, _, err = run("infer", model, tmp_path / "videos", "-o", tmp_path / "out", "--rotate", "45")
    assert (code, err) == (1, "error: rotate = 45, expected 0 | 90 | 180 | 270\n")
    assert not (tmp_path / "out").exists()


def test_the_first_and_the_last_frame(run: Run, model: Path, tmp_path: Path) -> None:
    video = media.video(tmp_path / "a.mp4", count=12, fps=10)
    _, out, _ = run("infer", model, video, "--first", "3", "--last", "8", "--stop", "0.7", "--stride", "2")
    assert [(row["frame"], row["time_s"]) for row in map(json.loads, out.splitlines()[1:])] == [(3, 0.3), (5, 0.5)]
    code, _, err = run("infer", model, video, "--first", "12")
    assert code == 1
    assert "hint: check --start, --stop, --first and --last" in err


def turned_results(folder: Path, source: Path, count: int) -> Path:
    """Results of the turned pictures of a source, whose people are where `recordings` puts them."""
    made = recordings.walkers(folder / "a.jsonl", str(source), frames=count, ids=False)
    head, *rows = made.read_text().splitlines()
    made.write_text("\n".join([json.dumps(json.loads(head) | {"rotate": 90, "mirror": True}), *rows]) + "\n")
    return made


def unturned_video(path: Path, count: int = 3) -> Path:
    """What is a video of `recordings.SIZE_WH` with a white quarter at the top left if read as `TURNED` says."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, recordings.SIZE_WH[::-1])
    for index in range(count):
        picture = media.numbered(index, recordings.SIZE_WH)
        writer.write(cv2.rotate(cv2.flip(picture, 1), cv2.ROTATE_90_COUNTERCLOCKWISE))
    writer.release()
    return path


def is_turned(video: Path) -> None:
    shown = next(frames(video))
    assert shown.size_wh == recordings.SIZE_WH
    assert shown.bgr[5, 5].min() > 200
    assert shown.bgr[-5, 5].max() < 50


@pytest.mark.parametrize("embed", [False, True])
def test_a_report_shows_the_turned_video(tmp_path: Path, embed: bool) -> None:
    video = unturned_video(tmp_path / "a.mp4")
    write_report(turned_results(tmp_path, video, 3), tmp_path / "a.html", embed=embed)
    is_turned(held(tmp_path / "a.html", "medium") if embed else next(tmp_path.glob("a.video.*")))


def test_a_comparison_is_of_the_turned_video(run: Run, model: Path, tmp_path: Path) -> None:
    video = unturned_video(tmp_path / "a.mp4")
    out = ["-o", tmp_path / "a.html", "--figure", tmp_path / "a.png"]
    assert run("compare", video, "--model", model, "--first", "1", "--last", "1", *ASKED, *out)[0] == 0
    is_turned(held(tmp_path / "a.html", "medium-0"))
    cell = cv2.imread(str(tmp_path / "a.png"))[-270:]  # 480 px wide
    assert cell[9, 9].min() > 200
    assert cell[-9, 9].max() < 60


@pytest.mark.pages
def test_a_picture_is_turned_for_the_report(tmp_path: Path, opened: Open) -> None:
    picture = media.numbered(2, recordings.SIZE_WH)
    cv2.imwrite(str(tmp_path / "a.png"), cv2.rotate(cv2.flip(picture, 1), cv2.ROTATE_90_COUNTERCLOCKWISE))
    write_report(turned_results(tmp_path, tmp_path / "a.png", 1), tmp_path / "a.html")
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.picture.png")), picture)
    pixels = shot(opened(tmp_path / "a.html"))
    assert pixels[5, 5].tolist() == [255, 255, 255]
    assert pixels[-5, 5].tolist() == [40, 40, 40]


def test_an_index_shows_the_turned_picture(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    media.video(tmp_path / "videos" / "a.mp4", count=3)
    assert run("infer", model, tmp_path / "videos", "-o", tmp_path / "out", *ASKED)[0] == 0
    assert run("report", tmp_path / "out", "-o", tmp_path / "all.html")[0] == 0
    found = re.search(r"data:image/jpeg;base64,([^\"]+)", (tmp_path / "all.html").read_text())
    assert found
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(found[1]), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (320, 240, 3)
    assert picture[20, 20].min() > 200  # turned by 90 the white quarter is at the right, mirrored at the left
    assert picture[20, -20].max() < 100
