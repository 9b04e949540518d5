"""Parameters of every stage, and of what comes after them, by the names that `posert info` prints."""

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny_follow
import tiny_topdown
from command import Run

from posert import estimate_image, frames, open_model
from posert.flags import parse_params
from posert.measure.tracks import track
from posert.pages.compare import compare
from posert.postprocess.following import FollowOptions
from posert.runtime.after.options import GROUPS, TrackOptions
from posert.runtime.metadata import metadata_text
from posert.runtime.parameters import groups_of
from posert.runtime.spec import METADATA_KEY, from_json


@pytest.fixture
def top_down(tmp_path: Path) -> Path:
    """A detector of two boxes, a pose network, and the rule `poses`."""
    return tiny_topdown.pose(tmp_path / "pose.onnx", tiny_topdown.detector(tmp_path / "detector.onnx"))


@pytest.fixture
def everybody(tmp_path: Path) -> Path:
    """A detector, a network that follows whom it finds, and the rule `oks`."""
    (tmp_path / "model").mkdir()
    return tiny_follow.pair(tmp_path / "model")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Somebody who stands for a moment, is away for 1.5 s, and walks on, 10 frames per second."""
    writer = cv2.VideoWriter(str(tmp_path / "walk.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (128, 96))
    for index in range(30):
        writer.write(tiny_follow.scene(*[] if 3 <= index < 18 else [(40 + max(0, index - 18), 48)]).bgr)
    writer.release()
    return tmp_path / "walk.mp4"


def people_of(run: Run, *args: object) -> list[dict[str, Any]]:
    code, out, err = run("infer", *args, "-q")
    assert code == 0, err
    return [person for line in out.splitlines() for person in json.loads(line).get("people", [])]


@pytest.mark.parametrize(
    ("given", "people"),
    [
        ({}, 2), ({"detector.min_score": 1.5}, 0), ({"detector.max_boxes": 1}, 0),  # equal ones all or none
        ({"suppress.min_score": 1.5}, 0), ({"suppress.min_area": 1e6}, 0), ({"suppress.gamma": 0}, 1),
    ],
)  # fmt: skip
def test_every_stage_has_its_group(top_down: Path, given: dict[str, Any], people: int) -> None:
    with open_model(top_down, params=given) as model:
        assert len(estimate_image(model, np.full((64, 64, 3), 255, np.uint8)).poses) == people


def test_a_name_without_group_is_of_the_last_stage(top_down: Path) -> None:
    with open_model(top_down, params={"refine": "none", "detector.crowd": 7, "pose.udp": True}) as model:
        pose, detector = model.params("pose"), model.params("detector")
    assert (pose.refine, pose.udp, detector.crowd) == ("none", True, 7)


def test_another_detector_has_its_parameters_too(top_down: Path, tmp_path: Path) -> None:
    other = tiny_topdown.detector(tmp_path / "other.onnx", boxes=((0, 1),))
    with open_model(top_down, detector=other, params={"detector.min_score": 0.9}) as model:
        assert model.params("detector").min_score == 0.9


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("detektor.min_score=1", "has no detektor.min_score; it has parameters of detector, pose, suppress",
         "posert info MODEL shows"),
        ("detector.min_skore=1", "no parameters min_skore; it knows classes, crowd, crowd_max_iou", "posert info"),
        ("gamma=20", "no parameters gamma; it knows integral, kernel_size", r"did you mean suppress\.gamma\?"),
        ("suppress.gamma=many", "suppression rule 'poses' cannot use gamma = 'many', expected a finite number", "info"),
        ("follow.rule=tutorial", r"bright-person has no follow\.rule", "info"),
        ("track.memory=2", r"track\.memory changes nothing: --track is not asked for", "add --track"),
        ("smooth.beta=2", r"smooth\.beta changes nothing: --smooth is not asked for", "add --smooth"),
    ],
)  # fmt: skip
def test_what_cannot_be_set_is_said(run: Run, top_down: Path, tmp_path: Path, text: str, what: str, hint: str) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((64, 64, 3), np.uint8))
    code, _, err = run("infer", top_down, tmp_path / "a.png", "--set", text)
    assert code == 1
    assert re.search(what, err)
    assert re.search(f"hint: .*{hint}", err)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("follow.rule=x", "follow cannot use rule = 'x', expected "),
        ("track.memory=-1", "track cannot use memory = -1, expected a finite number at least 0"),
        ("track.memori=1", "track has no parameters memori; it knows "),
        ("smooth.cutoff_hz=0", "smooth cannot use cutoff_hz = 0, expected a finite number above 0"),
    ],
)
def test_wrong_values_of_what_comes_after_are_said(
    run: Run, everybody: Path, video: Path, text: str, what: str
) -> None:
    code, _, err = run("infer", everybody, video, "--smooth", "--set", text)
    assert (code, what in err) == (1, True), err


@pytest.mark.parametrize(
    "command",
    [
        "serve {model}", "live {model} {video}", "compare {video} --model {model} -o page.html", "bundle {model} -o c",
        "eval {model} --coco {coco} --images .",
    ],
)  # fmt: skip
def test_every_command_that_opens_a_model_takes_them(
    run: Run, everybody: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    for package in ("uvicorn", "prometheus_client", "websockets") if command[:2] in ("se", "li") else ():
        pytest.importorskip(package, reason="posert[serve] is not installed")
    monkeypatch.chdir(tmp_path)
    Path("coco.json").write_text('{"images": [], "annotations": [], "categories": []}')
    words = command.format(model=everybody, video=video, coco="coco.json").split()
    code, _, err = run(*words, "--set", "suppress.max_oks=.9", "--set", "detector.max_iuo=.3")
    assert code == 1
    assert "decoder 'detect' has no parameters max_iuo" in err


def test_results_have_no_parameters(run: Run, tmp_path: Path) -> None:
    code, _, err = run("eval", "a.jsonl", "--tracks", tmp_path / "gt.txt", "--set", "track.memory=2")
    assert (code, "--set changes nothing in results" in err) == (1, True), err


@pytest.mark.parametrize(("memory", "ids"), [(1, {1, 2}), (2, {1})])
def test_measured_ids_are_given_as_asked(everybody: Path, video: Path, memory: float, ids: set[int]) -> None:
    pytest.importorskip("lap")
    options = TrackOptions(memory=memory, recall=0)
    with open_model(everybody) as model:
        tracked = track(model, frames(str(video)), tracking=options)
    assert {key for poses in tracked.frames.values() for key in poses.ids.tolist()} == ids
    (found,) = compare([("model", str(everybody))], [(str(video), "walk")], tracking=options)
    assert {key for result in found.runs[0].results for key in result.poses.ids.tolist()} == ids


def test_the_memory_of_ids_and_the_strength_of_smoothing(run: Run, everybody: Path, video: Path) -> None:
    pytest.importorskip("lap")
    motion = ["--track", "--set", "track.recall=0"]  # by motion alone
    usual, kept = (people_of(run, everybody, video, *motion, *more) for more in ([], ["--set", "track.memory=2"]))
    assert ({person["id"] for person in usual}, {person["id"] for person in kept}) == ({1, 2}, {1})
    smooth = [people_of(run, everybody, video, "--smooth", "--set", f"smooth.cutoff_hz={hz}") for hz in (1.5, 0.2)]
    assert smooth[0] == people_of(run, everybody, video, "--smooth")
    assert smooth[0] != smooth[1]


def test_another_memory_is_another_result_to_resume(run: Run, everybody: Path, video: Path, tmp_path: Path) -> None:
    pytest.importorskip("lap")
    out = tmp_path / "out"
    out.mkdir()

    def written(*more: str) -> int:
        assert run("infer", everybody, video, "-o", out, "--track", "--resume", "-q", *more)[0] == 0
        return (out / "walk.mp4.jsonl").stat().st_mtime_ns

    first = written()
    assert written() == first
    second = written("--set", "track.memory=2")
    assert written("--set", "track.memory=2") == second != first


def test_info_lists_them(run: Run, everybody: Path) -> None:
    code, out, _ = run("info", everybody)
    shown = dict(re.findall(r"^  ([\w.]+) = (.*)$", out, re.M))
    assert code == 0
    assert shown["detector.min_score"] == "0.3 (default 0.1)"
    assert (shown["pose.min_score"], shown["suppress.max_oks"]) == ("0.5 (default 0.1)", "0.3 (default 0.7)")
    assert shown["follow.rule"] == FollowOptions().rule
    assert {name.partition(".")[0] for name in shown} == {"detector", "pose", "suppress", "follow", *GROUPS}
    assert (shown["track.memory"], shown["smooth.beta"]) == ("1.0", "20.0")
    model = {name: value for name, value in shown.items() if name.partition(".")[0] not in GROUPS}
    with open_model(everybody, params=parse_params(f"{name}={text.split()[0]}" for name, text in model.items())) as one:
        assert [group.record({}) for group in groups_of(one.spec).values()] == [
            group.record({}) for group in groups_of(from_json(str(metadata_text(everybody, METADATA_KEY)))).values()
        ]
