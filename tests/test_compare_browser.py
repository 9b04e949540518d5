"""The comparison in a real browser: players move together, two models lie over each other, dips lead to frames."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recordings
from pages_open import FIRST, SECOND, Open, color_near, frame_of, shot

from posert.measure.compare import Run
from posert.pages.compare import Compared, write_comparison
from posert.runtime.files.results import read_results
from posert.runtime.files.video import suffix_for_browser
from posert.skeletons import COCO_17

pytestmark = pytest.mark.pages
SHIFT_PX = 30
AWAY = range(20, 30)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models: the second sees everybody 30 px lower, and nobody in frames 20 to 29."""
    folder = tmp_path_factory.mktemp("compared")
    video = recordings.video(folder / f"walk{suffix_for_browser()}")
    path = recordings.walkers(folder / "one.jsonl", "walk.mp4")
    head, *rows = map(json.loads, path.read_text().splitlines())
    for row in rows:
        for person in row["people"]:
            person["keypoints"] = [[x, y + SHIFT_PX, seen] for x, y, seen in person["keypoints"]]
            person["box_xyxy"] = [v + SHIFT_PX * (side % 2) for side, v in enumerate(person["box_xyxy"])]
        row["people"] = [] if row["frame"] in AWAY else row["people"]
    (folder / "two.jsonl").write_text("\n".join(map(json.dumps, (head, *rows))) + "\n")
    about = {"licence": "MIT", "bytes": 2_000_000, "ap": None, "figures": {
        "people": 1.8, "missing": 0.0, "jitter": None, "steps_ms": {"run": 2.5}, "frames_a_second": 99.0}}  # fmt: skip
    runs = {
        name: Run([_timed(one) for one in read_results(folder / f"{name}.jsonl").results], 1.0)
        for name in ("one", "two")
    }
    models = [Compared(name, COCO_17, about | {"name": name}, [run]) for name, run in runs.items()]
    write_comparison(models, [(str(video), "walk.mp4")], folder / "compared.html")
    video.unlink()
    return folder / "compared.html"


def _timed(result: Any) -> Any:
    result.timings_ms["run"] = 2.5
    return result


def wrist(number: int, model: int) -> np.ndarray:
    return recordings.joints(1, number)[recordings.WRIST] + np.array([0, SHIFT_PX * model])


def test_players_move_together(compared: Path, opened: Open) -> None:
    tab = opened(compared, width=2600, height=1500)
    for _ in range(33):
        tab.keyboard.press(".")
    for model in (0, 1):
        place = f".player:nth-child({model + 1}) canvas.people"
        assert frame_of(tab, place) == 33
        pixels = shot(tab, place)
        assert color_near(pixels, wrist(33, model)) == pytest.approx(FIRST, abs=12)
        assert pixels[5, 5].mean() == pytest.approx(recordings.grey(33), abs=3)


def test_two_models_over_each_other(compared: Path, opened: Open) -> None:
    tab = opened(compared, width=2600, height=1500)
    tab.get_by_label("Lay over each other:").check()
    pixels = shot(tab, ".overlaid canvas.people")
    assert color_near(pixels, wrist(0, 0)) == pytest.approx(FIRST, abs=12)
    assert color_near(pixels, wrist(0, 1)) == pytest.approx(SECOND, abs=12)
    assert pixels[5, 5].mean() == pytest.approx(recordings.grey(0), abs=3)
    assert not tab.locator(".players").is_visible()


def test_a_dip_leads_to_its_frame(compared: Path, opened: Open) -> None:
    tab = opened(compared, width=2600, height=1500)
    area = tab.locator(".plots .area").bounding_box()
    tab.mouse.click(area["x"] + area["width"] * 25.5 / 60, area["y"] + 20)
    assert frame_of(tab, ".player:first-child canvas.people") == 25
    assert tab.locator(".player .now").all_inner_texts() == ["2 people, 2.5 ms a frame", "0 people, 2.5 ms a frame"]
    assert tab.locator(".plots .legend b").inner_text() == "0.00"


def test_a_person_is_chosen_in_every_player(compared: Path, opened: Open) -> None:
    tab = opened(compared, width=2600, height=1500)
    box = tab.locator(".player:first-child canvas.people").bounding_box()
    x, y = recordings.joints(2, 0)[recordings.WRIST] * box["width"] / recordings.SIZE_WH[0]
    tab.mouse.click(box["x"] + x, box["y"] + y)
    for model in (0, 1):
        pixels = shot(tab, f".player:nth-child({model + 1}) canvas.people")
        assert np.abs(color_near(pixels, wrist(0, model)) - FIRST).max() > 40  # the other one fades
        chosen = recordings.joints(2, 0)[13] + np.array([0, SHIFT_PX * model])  # a knee, away from the box
        assert color_near(pixels, chosen) == pytest.approx(SECOND, abs=12)


def test_zoom_is_shared(compared: Path, opened: Open) -> None:
    tab = opened(compared, width=2600, height=1500)
    transform = "e => e.style.transform"
    tab.keyboard.press("z")
    first, second = (tab.locator(f".player:nth-child({n}) canvas.picture").evaluate(transform) for n in (1, 2))
    assert "scale(1.5)" in first
    assert first == second


def test_figures_and_hidden_keypoints(compared: Path, opened: Open) -> None:
    tab = opened(compared, width=2600, height=1500)
    assert tab.locator(".figures tbody tr").first.inner_text().split("\t") == [
        "one", "1.80", "0.0 %", "–", "2.5", "99.0", "2.0 MB", "MIT",
    ]  # fmt: skip
    tab.get_by_text("Single keypoints").click()
    tab.get_by_label("Limbs").uncheck()
    tab.get_by_label("left wrist").uncheck()
    pixels = shot(tab, ".player:first-child canvas.people")
    assert color_near(pixels, wrist(0, 0)) == pytest.approx([recordings.grey(0)] * 3, abs=3)


def test_on_a_phone(compared: Path, opened: Open) -> None:
    tab = opened(compared, width=390, height=844)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
