"""`posert plot`: a plot for each joint, as a page in a browser and as a figure."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import recordings
from command import Run
from pages_open import Open

from posert.errors import PosertError
from posert.pages.plot import write_plot


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    return recordings.walkers(tmp_path / "walk.jsonl", "walk.mp4")


def bent(path: Path, ids: bool = True) -> Path:
    """One person for 30 frames, away in frames 10..14: the left knee at 90 degrees, the right one stretched."""
    lines = recordings.walkers(path, "walk.mp4", frames=30, ids=ids).read_text().splitlines()
    for number, line in enumerate(lines[1:], 1):
        frame = json.loads(line)
        person = frame["people"][0]
        hip, knee = (person["keypoints"][recordings.COCO_17.names.index(f"left_{part}")] for part in ("hip", "knee"))
        hip[:2], ankle = [100, 50], person["keypoints"][15]
        knee[:2], ankle[:2] = [100, 70], [120, 70]
        frame["people"] = [] if 10 <= number - 1 < 15 else [person]
        lines[number] = json.dumps(frame)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_figure_has_a_row_for_each_joint(walk: Path, tmp_path: Path, suffix: str) -> None:
    """And is the same file again."""
    pytest.importorskip("matplotlib")
    paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
    assert [write_plot(walk, path) for path in paths] == [[1, 2, 3]] * 2
    assert paths[0].read_bytes() == paths[1].read_bytes()
    if suffix == ".png":
        height, width = cv2.imread(str(paths[0])).shape[:2]
        assert (width, height) == (1200, 4 * 264)  # elbow, shoulder, hip, knee
    if suffix == ".svg":
        assert paths[0].read_text().startswith("<?xml")


def test_the_lines_of_a_figure_are_the_angles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left drawn through, right dashed, nothing where the person is away."""
    figures = pytest.importorskip("matplotlib.figure")
    drawn: list[Any] = []
    monkeypatch.setattr(figures.Figure, "savefig", lambda self, path, **_: (drawn.append(self), Path(path).touch()))
    write_plot(bent(tmp_path / "bent.jsonl"), tmp_path / "a.png")
    knee = next(axis for axis in drawn[0].axes if axis.get_ylabel() == "knee, °")
    left, right = knee.get_lines()
    assert (left.get_label(), left.get_linestyle(), right.get_linestyle()) == ("id 1, left", "-", "--")
    times, values = np.asarray(left.get_data())
    assert times == pytest.approx(np.arange(30) / recordings.FPS, abs=1e-6)
    assert np.flatnonzero(np.isnan(values)).tolist() == list(range(10, 15))
    assert values[np.isfinite(values)] == pytest.approx(90, abs=0.01)
    assert np.nanmin(right.get_ydata()) > 175


def test_whom_a_figure_shows(walk: Path, tmp_path: Path) -> None:
    """Those asked for; without ids one person, and nobody knows who is who of two."""
    pytest.importorskip("matplotlib")
    assert write_plot(walk, tmp_path / "a.png", ids=[2]) == [2]
    with pytest.raises(PosertError, match=r"no id 7; there are 1, 2, 3"):
        write_plot(walk, tmp_path / "a.png", ids=[2, 7])
    assert write_plot(bent(tmp_path / "alone.jsonl", ids=False), tmp_path / "b.png") == [0]
    two = recordings.walkers(tmp_path / "two.jsonl", "walk.mp4", ids=False)
    with pytest.raises(PosertError, match="no ids") as error:
        write_plot(two, tmp_path / "c.png")
    assert "`track`" in error.value.hint


def test_what_cannot_be_plotted(run: Run, walk: Path, tmp_path: Path) -> None:
    code, _, err = run("plot", walk, "-o", tmp_path / "a.docx")
    assert code == 1
    assert "neither a page nor a figure" in err
    faces = recordings.walkers(tmp_path / "f.jsonl", "f.mp4", names=tuple(f"face_{k}" for k in range(17)))
    code, _, err = run("plot", faces, "-o", tmp_path / "a.html")
    assert code == 1
    assert "no joints" in err
    (tmp_path / "mine.html").write_text("mine")
    code, _, err = run("plot", walk, "-o", tmp_path / "mine.html")
    assert code == 1
    assert "--overwrite" in err
    code, out, _ = run("plot", walk, "-o", tmp_path / "mine.html", "--overwrite", "--id", 2)
    assert code == 0
    assert out == f"{tmp_path / 'mine.html'}: id 2\n"
    code, _, err = run("plot", walk, "-o", walk)
    assert code == 1


def ink(tab: Any, number: int) -> np.ndarray:
    """The pixels of a plot as they are on the screen, u8 [H,W,3]."""
    data = np.frombuffer(tab.locator("figure.plot canvas").nth(number).screenshot(), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


@pytest.mark.pages
def test_the_page_in_a_browser(tmp_path: Path, opened: Open) -> None:
    """A plot for each joint with the value under the cursor, and a gap where the person is away."""
    write_plot(bent(tmp_path / "bent.jsonl"), tmp_path / "angles.html")
    tab = opened(tmp_path / "angles.html")
    captions = [text.split("left")[0] for text in tab.locator("figure.plot figcaption").all_inner_texts()]
    assert [text.strip() for text in captions[:4]] == ["elbow", "shoulder", "hip", "knee"]
    knee = tab.locator("figure.plot").nth(3)
    assert "90°" in knee.inner_text()
    assert knee.locator(".legend").inner_text().split()[-1] in ("179°", "180°")
    tab.keyboard.press("End")
    for _ in range(17):
        tab.keyboard.press(",")
    assert "–" in knee.locator(".legend").inner_text()  # frame 12: away
    tab.keyboard.press("End")  # with the cursor
    pixels = ink(tab, 3).astype(int)
    height, width = pixels.shape[:2]
    middle = pixels[height // 2 - 2 : height // 2 + 3]
    coloured = (middle.max(axis=2) - middle.min(axis=2) > 60).any(axis=0)
    at = [coloured[round(frame / 30 * width) - 1 : round(frame / 30 * width) + 2].any() for frame in (5, 12, 22)]
    assert at == [True, False, True]


@pytest.mark.pages
def test_another_person_is_chosen_on_the_page(walk: Path, tmp_path: Path, opened: Open) -> None:
    write_plot(walk, tmp_path / "angles.html", ids=[2])
    tab = opened(tmp_path / "angles.html")
    title = tab.locator(".plots h2")
    assert title.inner_text() == "Angles and speeds of id 2"
    before = ink(tab, 0)
    tab.get_by_role("button", name="Person 1").click()
    assert title.inner_text() == "Angles and speeds of id 1"
    assert (ink(tab, 0) != before).any()
    tab.keyboard.press("End")
    assert tab.locator(".controls .time").inner_text().endswith("frame 59")
