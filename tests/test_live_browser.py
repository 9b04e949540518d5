"""The live page in a real browser: frames, people at their pixels, a click, a recording, a source that ends."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pages_open import Open, shot
from serving import Server, serving

from posert.export.nano.clip import HEIGHT, WIDTH, render
from posert.poses import Poses
from posert.runtime.files.results import read_results
from posert.runtime.loop import estimate_image
from posert.runtime.media.read import frames
from posert.runtime.session import open_model

pytest.importorskip("uvicorn", reason="posert[serve] is not installed")
pytest.importorskip("lap", reason="posert[track] is not installed")
pytestmark = pytest.mark.pages
COLORS = np.array([(86, 180, 233), (230, 159, 0), (0, 158, 115), (240, 228, 66), (204, 121, 167)])  # of ids 1, 2, ...


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of the drawn clip that stands still, for 20 s and for 2 s."""
    folder = tmp_path_factory.mktemp("live")
    picture = render(100)[0]
    for name, count in (("still.avi", 200), ("brief.avi", 20)):
        writer = cv2.VideoWriter(str(folder / name), cv2.VideoWriter.fourcc(*"MJPG"), 10, (WIDTH, HEIGHT))
        for _ in range(count):
            writer.write(picture)
        writer.release()
    (folder / "gate").touch()
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serving(folder, "nano", "still.avi", "brief.avi", "-o", folder / "kept", command="live") as started:
        yield started


@pytest.fixture(scope="module")
def people(folder: Path) -> Poses:
    with open_model("nano", device="cpu", threads=1) as model:
        return estimate_image(model, next(frames(folder / "still.avi"))).poses


@pytest.fixture
def tab(server: Server, opened: Open) -> Any:
    return opened(f"http://127.0.0.1:{server.port}/")


def color_at(pixels: np.ndarray, point_px: np.ndarray) -> np.ndarray:
    x, y = (point_px * pixels.shape[1] / WIDTH).round().astype(int)
    return pixels[y, x].astype(int)  # a keypoint is no larger than five pixels


def topmost(points: np.ndarray) -> np.ndarray:
    """The keypoint that is drawn last, above the others of its person."""
    return points[points[:, 2] > 0][-1, :2]


def click(tab: Any, point_px: np.ndarray) -> None:
    box = tab.locator("canvas.people").bounding_box()
    x, y = (point_px * box["width"] / WIDTH).tolist()
    tab.mouse.click(box["x"] + x, box["y"] + y)


def test_people_are_drawn_on_the_picture(tab: Any, folder: Path, people: Poses) -> None:
    pixels, picture = shot(tab), next(frames(folder / "still.avi")).rgb
    corner = np.array([20, HEIGHT - 20])
    assert color_at(pixels, corner) == pytest.approx(color_at(picture, corner), abs=16)
    assert len(people) >= 2
    for points in people.keypoints:
        assert np.abs(COLORS - color_at(pixels, topmost(points))).max(1).min() <= 12


def test_a_click_chooses_a_person_who_stays_chosen(tab: Any, people: Poses) -> None:
    said = tab.get_by_label("Chosen person")
    chosen = []
    for points in people.keypoints[:2]:
        click(tab, topmost(points))
        chosen.append(int(said.locator("h2").inner_text().removeprefix("Person ")))
        color = COLORS[chosen[-1] - 1]
        assert color_at(shot(tab), topmost(points)) == pytest.approx(color, abs=12)
        found = int((points[:, 2] > 0).sum())
        assert f"{found} of {len(points)}" in said.inner_text()
    assert len(set(chosen)) == 2
    number = int(tab.locator("canvas.people").get_attribute("data-frame"))
    tab.wait_for_function(f"() => document.querySelector('canvas.people').dataset.frame != {number}")
    assert said.locator("h2").inner_text() == f"Person {chosen[1]}"
    faded = color_at(shot(tab), topmost(people.keypoints[0]))
    assert np.abs(faded - COLORS[chosen[0] - 1]).max() > 30
    tab.keyboard.press("Escape")
    assert said.inner_text().startswith("Person\n")


def test_a_recording_is_begun_and_ended(tab: Any, folder: Path, people: Poses) -> None:
    tab.get_by_role("button", name="Record").click()
    tab.get_by_role("button", name="Stop").wait_for()
    tab.wait_for_function("() => parseInt(document.querySelector('.recording p').textContent) >= 5")
    tab.keyboard.press("r")
    said = tab.locator(".recording p", has_text=".jsonl")
    said.wait_for()
    names, count = said.inner_text().removesuffix(" frames").split(": ")
    file, drawn = names.split(" and ")
    results = list(read_results(folder / "kept" / file).results)
    assert len(results) == int(count)
    assert all(len(result.poses) == len(people) and result.poses.ids is not None for result in results)
    assert next(frames(folder / "kept" / drawn)).size_wh == (WIDTH, HEIGHT)


def test_figures_are_shown(tab: Any) -> None:
    tab.wait_for_function("() => [...document.querySelectorAll('header dd')].every((e) => e.textContent !== '–')")
    facts = tab.locator("header dl").inner_text()
    assert "posert-nano" in facts
    assert "ms, at most" in facts
    assert facts.count("frames/s") == 2


def test_another_source_is_chosen_and_its_end_is_said(tab: Any) -> None:
    tab.get_by_role("button", name="brief.avi").click()
    tab.get_by_text("brief.avi has ended.").wait_for()
    assert tab.get_by_role("button", name="Record").is_disabled()
    tab.get_by_role("button", name="still.avi").click()
    tab.get_by_text("brief.avi has ended.").wait_for(state="hidden")


def test_several_look_and_a_phone_is_wide_enough(server: Server, opened: Open) -> None:
    tabs = [opened(f"http://127.0.0.1:{server.port}/", width=390, height=844, scheme=s) for s in ("dark", "light")]
    for tab in tabs:
        before = int(tab.locator("canvas.people").get_attribute("data-frame"))
        tab.wait_for_function(f"() => document.querySelector('canvas.people').dataset.frame > {before + 3}")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_server_that_goes_is_said(folder: Path, opened: Open) -> None:
    with serving(folder, "nano", "still.avi", command="live") as started:
        tab = opened(f"http://127.0.0.1:{started.port}/")
    tab.get_by_text("The server is gone").wait_for()
    opened.wrong[:] = [text for text in opened.wrong if "ERR_CONNECTION_REFUSED" not in text]
