"""What infer wrote is read again as it was; what is no such file, or damaged, is said."""

import json
from pathlib import Path

import media
import numpy as np
import pytest
import recordings
from command import Run

from posert.errors import PosertError
from posert.runtime.files.results import read_results


@pytest.mark.parametrize("form", ["json", "npz"])
@pytest.mark.parametrize("more", [["--track"], []])
def test_every_format_says_the_same(form: str, more: list[str], run: Run, model: Path, tmp_path: Path) -> None:
    video = media.video(tmp_path / "walk.mp4")
    for name in ("jsonl", form):
        assert run("infer", model, video, "-o", tmp_path / f"a.{name}", "--format", name, *more)[0] == 0
    one, other = (read_results(tmp_path / f"a.{name}") for name in ("jsonl", form))
    assert (one.model, one.skeleton, one.source) == (other.model, other.skeleton, other.source)
    pairs = list(zip(one.results, other.results, strict=True))
    assert len(pairs) == 12
    for a, b in pairs:
        assert (a.frame_index, a.size_wh) == (b.frame_index, b.size_wh)
        assert a.time_s == pytest.approx(b.time_s, abs=1e-6)
        np.testing.assert_allclose(a.poses.keypoints, b.poses.keypoints, atol=0.006)  # two decimals in JSON
        np.testing.assert_allclose(a.poses.boxes_xyxy, b.poses.boxes_xyxy, atol=0.006)
        np.testing.assert_array_equal(*([] if p.ids is None else p.ids for p in (a.poses, b.poses)))


def line(**changed: object) -> str:
    person = recordings.person(1, 0, id=1)
    row = {"frame": 9, "time_s": 0.3, "size_wh": [320, 180], "people": [person]}
    return json.dumps(row | changed)


DAMAGED = {
    "no JSON": "{",
    "a list": "[]",
    "people without keypoints": line(people=[{"id": 1, "score": 1, "box_xyxy": [0, 0, 1, 1]}]),
    "a keypoint less": line(people=[recordings.person(1, 0, id=1) | {"keypoints": [[1, 2, 3]] * 16}]),
    "words for numbers": line(people=[recordings.person(1, 0, id=1) | {"keypoints": [["a", "b", "c"]] * 17}]),
    "infinite": line(people=[recordings.person(1, 0, id=1) | {"score": 1e999}]),
    "NaN": line(time_s=float("nan")),
    "no size": line(size_wh=[0, 180]),
    "a frame again": line(frame=3),
    "a huge id": line(people=[recordings.person(1, 0, id=1 << 40)]),
    "an id below 1": line(people=[recordings.person(1, 0, id=-1)]),
    "a huge frame": line(frame=1 << 40),
    "endless": "[" * 100_000,
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_line_is_named(text: str, tmp_path: Path) -> None:
    path = recordings.walkers(tmp_path / "a.jsonl", "walk.mp4", frames=5)
    path.write_text(path.read_text() + text + "\n")
    with pytest.raises(PosertError, match="line 7, is no frame"):
        list(read_results(path).results)


def test_a_line_that_is_cut_off_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = recordings.walkers(tmp_path / "a.jsonl.partial", "walk.mp4", frames=5)
    path.write_text(path.read_text()[:-30])
    assert len(list(read_results(path).results)) == 4
    assert "cut off in line 6" in caplog.text


HEADS = {
    "empty": "",
    "another program's": '{"version":1.3,"people":[]}',
    "a newer one's": '{"posert":2,"model":"a","skeleton":{"names":["a"],"edges":[]},"source":"a"}',
    "an edge to nowhere": '{"posert":1,"model":"a","skeleton":{"names":["a"],"edges":[[0,1]]},"source":"a"}',
    "no keypoints": '{"posert":1,"model":"a","skeleton":{"names":[],"edges":[]},"source":"a"}',
    "a name that is none": '{"posert":1,"model":"a","skeleton":{"names":[1],"edges":[]},"source":"a"}',
    "a picture": "\xff\xd8\xff\xe0",
    "a broken archive": "PK\x03\x04",
}


@pytest.mark.parametrize("text", HEADS.values(), ids=HEADS)
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(PosertError, match=r"does not begin as|is no npz of"):
        read_results(tmp_path / "a.jsonl")


def test_arrays_that_do_not_fit_each_other(tmp_path: Path) -> None:
    header = json.dumps({"posert": 1, "model": "a", "skeleton": {"names": ["a"], "edges": []}, "source": "a"})
    shapes = {
        "frame_index": 2,
        "time_s": 2,
        "size_wh": (2, 2),
        "scores": (2, 1),
        "ids": (2, 1),
        "boxes_xyxy": (2, 1, 4),
    }
    np.savez(
        tmp_path / "a.npz",
        header=header,
        keypoints=np.zeros((2, 1, 2, 3)),
        **{k: np.zeros(v) for k, v in shapes.items()},
    )
    with pytest.raises(PosertError, match="do not fit"):
        read_results(tmp_path / "a.npz")
