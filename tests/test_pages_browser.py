"""Pages in a real browser: what is drawn where, clicks, keys, seeks, and that nothing is asked of the network."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import recordings
from pages_open import FIRST, SECOND, Open, color_near, shot
from pages_open import frame_of as frame

from posert.pages.index import entries_of, write_reports
from posert.pages.report import write_report

pytestmark = pytest.mark.pages


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of two walkers and a video whose grey says the frame."""
    folder = tmp_path_factory.mktemp("walk")
    recordings.video(folder / "walk.mp4" if _h264() else folder / "walk.webm")
    return report(folder, video=next(folder.glob("walk.*")))


def _h264() -> bool:
    from posert.runtime.files.video import suffix_for_browser

    return suffix_for_browser() == ".mp4"


def report(folder: Path, **options: Any) -> Path:
    folder.mkdir(exist_ok=True)
    made = recordings.walkers(folder / "walk.jsonl", "nowhere.mp4")
    write_report(made, folder / "walk.html", **options)
    return folder / "walk.html"


@pytest.mark.parametrize("number", [0, 25, 47])
def test_a_joint_is_drawn_where_it_is_on_the_picture_that_it_is_of(walk: Path, opened: Open, number: int) -> None:
    tab = opened(walk)
    for _ in range(number):
        tab.keyboard.press(".")
    assert frame(tab) == number
    pixels = shot(tab)
    wrist = recordings.joints(1, number)[recordings.WRIST]
    assert color_near(pixels, wrist) == pytest.approx(FIRST, abs=12)
    assert np.abs(color_near(pixels, wrist + np.array([0, 14])) - FIRST).max() > 40
    assert pixels[5, 5].mean() == pytest.approx(recordings.grey(number), abs=2)


def test_keys_seek(walk: Path, opened: Open) -> None:
    tab = opened(walk)
    for key, expected in (
        ("End", 59),
        (",", 58),
        ("ArrowLeft", 28),
        ("Home", 0),
        (",", 0),
        ("ArrowRight", 30),
        (".", 31),
    ):
        tab.keyboard.press(key)
        assert frame(tab) == expected, key
    assert shot(tab)[5, 5].mean() == pytest.approx(recordings.grey(31), abs=2)


def test_it_plays_and_people_stay_on_their_frames(walk: Path, opened: Open) -> None:
    tab = opened(walk)
    tab.locator(".controls select").select_option("0.5")
    tab.get_by_role("button", name="Play").click()
    tab.wait_for_timeout(900)
    tab.keyboard.press(" ")
    assert tab.get_by_role("button", name="Play").is_visible()
    now = frame(tab)
    assert 5 <= now <= 25
    pixels = shot(tab)
    assert pixels[5, 5].mean() == pytest.approx(recordings.grey(now), abs=2)
    assert color_near(pixels, recordings.joints(1, now)[recordings.WRIST]) == pytest.approx(FIRST, abs=12)
    assert frame(tab) == now


def test_a_click_chooses_a_person(walk: Path, opened: Open) -> None:
    tab = opened(walk)
    box = tab.locator("canvas.people").bounding_box()
    x, y = recordings.joints(2, 0)[recordings.WRIST] * box["width"] / recordings.SIZE_WH[0]
    tab.mouse.click(box["x"] + x + 3, box["y"] + y)
    second = tab.get_by_role("button", name="Person 2")
    assert second.get_attribute("aria-pressed") == "true"
    assert tab.locator(".plots h2").inner_text() == "Angles and speeds of id 2"
    assert (
        np.abs(color_near(shot(tab), recordings.joints(1, 0)[recordings.WRIST]) - FIRST).max() > 40
    )  # the other fades
    tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + 8)
    assert second.get_attribute("aria-pressed") == "false"


def test_lanes_plots_and_events_lead_to_their_frames(walk: Path, opened: Open) -> None:
    tab = opened(walk)
    box = tab.locator(".lanes").bounding_box()
    tab.mouse.click(box["x"] + box["width"] * 30.5 / 60, box["y"] + 10)
    assert frame(tab) == 30
    area = tab.locator(".area").first.bounding_box()
    tab.mouse.click(area["x"] + area["width"] * 45.5 / 60, area["y"] + 20)
    assert frame(tab) == 45
    assert tab.locator(".event").all_inner_texts()[0].endswith("id 2 is back after 0.37 s")
    tab.get_by_text("id 2 becomes 3?").click()
    assert frame(tab) == 40
    assert tab.get_by_role("button", name="Person 3").get_attribute("aria-pressed") == "true"
    tab.keyboard.press("[")
    assert frame(tab) == 39
    assert tab.get_by_role("slider", name="Time").get_attribute("aria-valuetext") == "00:01.30, 2 people"


def test_the_lane_of_a_person_has_his_gap(walk: Path, opened: Open) -> None:
    pixels = shot(opened(walk), ".lanes")
    lane = pixels[18 + 26 + 18 + 9]  # the second one, its middle
    across = lambda number: lane[int((number + 0.5) / 60 * len(lane))]  # noqa: E731
    bright = [int(across(number).astype(int).sum()) > 150 for number in (5, 14, 25, 50)]
    assert bright == [True, False, True, False]


def test_numbers_beside_the_curves_are_the_angles(walk: Path, opened: Open) -> None:
    tab = opened(walk)
    shoulder, elbow, wrist = recordings.joints(1, 0)[[5, 7, 9]]
    one, other = shoulder - elbow, wrist - elbow
    degrees = np.degrees(np.arccos(one @ other / np.linalg.norm(one) / np.linalg.norm(other)))
    said = tab.locator(".plot", has_text="elbow").locator(".legend").inner_text()
    assert f"{degrees:.0f}°" in said


def test_a_person_can_be_shown_in_other_ways(walk: Path, opened: Open) -> None:
    tab = opened(walk)
    wrist = recordings.joints(1, 0)[recordings.WRIST]
    tab.get_by_label("Limbs").uncheck()
    tab.keyboard.press("p")
    assert color_near(shot(tab), wrist) == pytest.approx([recordings.grey(0)] * 3, abs=3)
    tab.keyboard.press("p")
    tab.get_by_label("Colours").select_option("sides")
    right = recordings.joints(1, 0)[recordings.WRIST + 1]
    assert color_near(shot(tab), right) == pytest.approx(SECOND, abs=12)
    tab.get_by_label("Least score").fill("0.85")
    assert color_near(shot(tab), wrist) == pytest.approx([recordings.grey(0)] * 3, abs=3)


def test_zoom_keeps_joints_on_the_picture(walk: Path, opened: Open) -> None:
    tab = opened(walk)
    box = tab.locator("canvas.people").bounding_box()
    scale = box["width"] / recordings.SIZE_WH[0]
    x, y = recordings.joints(1, 0)[recordings.WRIST] * scale
    tab.mouse.move(box["x"] + x, box["y"] + y)
    tab.keyboard.down("Control")
    tab.mouse.wheel(0, -300)
    tab.keyboard.up("Control")
    pixels = shot(tab)
    x, y = round(x), round(y)
    assert np.median(pixels[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3), axis=0) == pytest.approx(FIRST, abs=12)
    tab.keyboard.press("Escape")
    assert color_near(shot(tab), recordings.joints(2, 0)[recordings.WRIST]) == pytest.approx(SECOND, abs=12)


def test_without_a_video_time_goes_on(tmp_path: Path, opened: Open) -> None:
    tab = opened(report(tmp_path / "plain"))
    tab.keyboard.press(" ")
    tab.wait_for_timeout(600)
    tab.keyboard.press(" ")
    assert 5 <= frame(tab) <= 40
    assert color_near(shot(tab), recordings.joints(1, frame(tab))[recordings.WRIST]) == pytest.approx(FIRST, abs=12)


def test_a_video_inside_of_the_page_needs_no_other_file(tmp_path: Path, opened: Open) -> None:
    (tmp_path / "inside").mkdir()
    video = recordings.video(tmp_path / "inside" / ("walk.mp4" if _h264() else "walk.webm"))
    path = report(tmp_path / "inside", video=video, embed=True)
    video.unlink()
    tab = opened(path)
    tab.keyboard.press("End")
    assert shot(tab)[5, 5].mean() == pytest.approx(recordings.grey(59), abs=2)


def test_it_stops_where_the_results_stop(tmp_path: Path, opened: Open) -> None:
    video = recordings.video(tmp_path / ("walk.mp4" if _h264() else "walk.webm"))
    made = recordings.walkers(tmp_path / "walk.jsonl", "nowhere.mp4", frames=30)
    write_report(made, tmp_path / "walk.html", video=video)
    tab = opened(tmp_path / "walk.html")
    for _ in range(22):
        tab.keyboard.press(".")
    tab.keyboard.press(" ")
    tab.get_by_role("button", name="Pause").wait_for(state="detached")
    assert frame(tab) == 29
    assert tab.locator("video").evaluate("v => v.currentTime") < 1.5


def test_a_video_that_went_away_is_said(tmp_path: Path, opened: Open) -> None:
    (tmp_path / "gone").mkdir()
    video = recordings.video(tmp_path / "gone" / ("walk.mp4" if _h264() else "walk.webm"))
    path = report(tmp_path / "gone", video=video)
    video.unlink()
    tab = opened(path)
    tab.get_by_text("cannot be played").wait_for()
    tab.keyboard.press(".")
    assert frame(tab) == 1
    assert [text for text in opened.wrong if "ERR_FILE_NOT_FOUND" not in text] == []
    opened.wrong.clear()


def test_a_picture(tmp_path: Path, opened: Open) -> None:
    cv2.imwrite(str(tmp_path / "one.png"), np.full((180, 320, 3), 90, np.uint8))
    made = recordings.walkers(tmp_path / "one.jsonl", str(tmp_path / "one.png"), frames=1, ids=False)
    write_report(made, tmp_path / "one.html")
    tab = opened(tmp_path / "one.html")
    pixels = shot(tab)
    assert pixels[5, 5].tolist() == [90, 90, 90]
    assert color_near(pixels, recordings.joints(1, 0)[recordings.WRIST]) == pytest.approx(FIRST, abs=12)
    assert not tab.locator(".controls").count()
    assert tab.get_by_text("run infer with --track").is_visible()


def test_nobody(tmp_path: Path, opened: Open) -> None:
    head, *rows = recordings.walkers(tmp_path / "a.jsonl", "nowhere.mp4").read_text().splitlines()
    empty = [json.dumps(json.loads(row) | {"people": []}) for row in rows]
    (tmp_path / "a.jsonl").write_text("\n".join([head, *empty]) + "\n")
    write_report(tmp_path / "a.jsonl", tmp_path / "a.html")
    tab = opened(tmp_path / "a.html")
    tab.keyboard.press("End")
    assert frame(tab) == 59
    assert "0 people" in tab.locator("canvas.people").get_attribute("aria-label")


def test_hostile_names_are_text(tmp_path: Path, opened: Open) -> None:
    hostile = '</script><img src=x onerror="alert(1)">'
    made = recordings.walkers(
        tmp_path / "a.jsonl", f"x/{hostile}", names=(hostile, *(f"<b>{k}</b>" for k in range(16)))
    )
    write_report(made, tmp_path / "a.html")
    tab = opened(tmp_path / "a.html")
    assert tab.locator("h1").inner_text() == hostile.split("/")[-1]
    assert tab.get_by_text("<b>3</b>").count()
    assert not tab.locator("header img").count()


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_a_phone_shows_it_without_sideways_scrolling(walk: Path, opened: Open, scheme: str) -> None:
    tab = opened(walk, width=390, height=844, scheme=scheme, has_touch=True)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    tops = [tab.locator(name).bounding_box()["y"] for name in (".stage", ".controls", ".timeline", ".plots", "aside")]
    assert tops == sorted(tops)
    assert all(box.bounding_box()["height"] >= 40 for box in tab.locator(".controls button").all())


def test_dark_and_light(walk: Path, opened: Open) -> None:
    color = "getComputedStyle(document.body).backgroundColor"
    dark, light = (opened(walk, scheme=scheme) for scheme in ("dark", "light"))
    seen = {name: tab.evaluate(color) for name, tab in {"dark": dark, "light": light}.items()}
    assert seen["dark"] != seen["light"]
    dark.get_by_role("button", name="Dark or light").click()
    assert dark.evaluate(color) == seen["light"]


def test_everything_that_acts_has_a_name(walk: Path, opened: Open) -> None:
    tab = opened(walk)
    nameless = """() => [...document.querySelectorAll("button, select, input, canvas[role], [role=slider]")]
        .filter((e) => !(e.getAttribute("aria-label") || e.closest("label")?.textContent || e.textContent)).length"""
    assert tab.evaluate(nameless) == 0


def test_the_index_leads_to_the_pages_and_they_lead_back(tmp_path: Path, opened: Open) -> None:
    for name in ("a", "b"):
        recordings.walkers(tmp_path / f"{name}.mp4.jsonl", f"{name}.mp4")
    write_reports(entries_of([tmp_path]), tmp_path / "all.html", title="two")
    tab = opened(tmp_path / "all_pages" / "b.mp4.html")
    tab.get_by_role("link", name="All results").click()
    tab.wait_for_selector(".cards")
    assert tab.locator("a.card").count() == 2
    assert tab.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth === 320)")
    tab.locator("a.card").first.click()
    tab.wait_for_selector("html[data-ready=all]")
    assert tab.locator("h1").inner_text() == "a.mp4"
