"""Drawn videos and moving pictures in a browser: they play, at their pace, with their sound."""

from pathlib import Path
from typing import Any

import media
import pytest
from command import Run

pytestmark = pytest.mark.pages
pytest.importorskip("av")
_PAGE = "<!doctype html><html data-ready=all><title>drawn</title>{}"


@pytest.mark.parametrize("suffix", [".mp4", ".m4v", ".mov", ".webm"])
def test_drawn_videos_play(opened: Any, run: Run, model: Path, tmp_path: Path, suffix: str) -> None:
    drawn = tmp_path / f"drawn{suffix}"
    assert run("infer", model, media.beeping(tmp_path / "a.mp4"), "--overlay", drawn)[0] == 0
    page = tmp_path / "page.html"
    page.write_text(_PAGE.format(f"<video src=drawn{suffix} muted></video>"))
    tab = opened(page)
    tab.wait_for_function("() => document.querySelector('video').readyState >= 3")
    played = tab.evaluate(
        """async () => {
            const video = document.querySelector("video");
            video.playbackRate = 4;
            await video.play();
            await new Promise((done) => video.addEventListener("ended", done));
            return [video.duration, video.videoWidth, video.webkitDecodedFrameCount, video.webkitAudioDecodedByteCount];
        }"""
    )
    assert played[0] == pytest.approx(3.0, abs=0.1)
    assert played[1] == 64
    assert played[2] > 10
    assert played[3] > 0


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_moving_pictures_move(opened: Any, run: Run, model: Path, tmp_path: Path, suffix: str) -> None:
    """The browser's own decoder gives every picture and how long it is shown."""
    drawn, page = tmp_path / f"drawn{suffix}", tmp_path / "page.html"
    assert run("infer", model, media.video(tmp_path / "a.mp4", count=12), "--overlay", drawn)[0] == 0
    page.write_text(_PAGE.format("<input type=file>"))
    tab = opened(page)
    tab.set_input_files("input", drawn)
    found = tab.evaluate(
        """async (type) => {
            const data = await document.querySelector("input").files[0].arrayBuffer();
            const decoder = new ImageDecoder({ data, type });
            await decoder.tracks.ready;
            await decoder.completed;
            const track = decoder.tracks.selectedTrack, shown = [];
            for (let frameIndex = 0; frameIndex < track.frameCount; frameIndex++) {
                const { image } = await decoder.decode({ frameIndex });
                shown.push([image.timestamp / 1e6, image.displayWidth]);
            }
            return { shown, again: track.repetitionCount };
        }""",
        f"image/{suffix[1:]}",
    )
    assert [time_s for time_s, _ in found["shown"]] == pytest.approx([step / 10 for step in range(12)], abs=0.006)
    assert {width for _, width in found["shown"]} == {64}
    assert found["again"] in (None, float("inf"))
