"""Lists of clips: CSV and Parquet, from which frame to which, what is carried into the results, and what is refused."""

import json
import pickle
from pathlib import Path
from typing import Any

import media
import numpy as np
import pyarrow
import pytest
from command import Run, rows, tree
from pyarrow import parquet

from posert import PosertError
from posert.runtime.files.results import read_results
from posert.runtime.jobs.clip import Clip
from posert.runtime.jobs.planning import plan, planned

FPS = 10


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    media.video(folder / "deep" / "a.mp4", count=12, fps=FPS)
    media.video(folder / "b.mp4", count=6, fps=FPS)
    return folder


def listed(path: Path, columns: dict[str, list[Any]]) -> str:
    """A list with these columns in the format that its name says, as a source."""
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.table(columns), path)
    else:
        lines = [list(columns), *zip(*columns.values(), strict=True)]
        text = "".join(",".join("" if v is None else str(v) for v in line) + "\n" for line in lines)
        path.write_text(text, encoding="utf-8")
    return f"@{path}"


def read(path: Path) -> tuple[dict[str, Any], list[int]]:
    header, *records = map(json.loads, path.read_text().splitlines())
    return header, [record["frame"] for record in records]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_each_row_is_a_clip(run: Run, model: Path, videos: Path, tmp_path: Path, form: str) -> None:
    long, short = str(videos / "deep" / "a.mp4"), str(videos / "b.mp4")
    source = listed(tmp_path / f"list.{form}", {
        "id": ["fall/1", "fall/2", "walk"], "label": ["falls", None, "walks"],
        "path": [long, long, short], "start": [0.2, 0.5, None], "stop": [0.5, None, None],
    })  # fmt: skip
    out = tmp_path / "out"
    assert run("infer", model, source, "-o", out)[0] == 0
    found = {name: read(out / f"{name}.jsonl") for name in ("fall/1", "fall/2", "walk")}
    assert [indices for _, indices in found.values()] == [[2, 3, 4], [5, 6, 7, 8, 9, 10, 11], [0, 1, 2, 3, 4, 5]]
    about = found["fall/1"][0]
    assert about["source"] == long
    assert about["clip"] == {"id": "fall/1", "start_s": 0.2, "stop_s": 0.5, "columns": {"label": "falls"}}
    assert found["fall/2"][0]["clip"]["columns"] == {"label": None}
    assert [row["clip"]["id"] for row in rows(out)] == ["fall/1", "fall/2", "walk"]


def test_a_clip_is_what_a_run_from_there_to_there_gives(run: Run, model: Path, videos: Path, tmp_path: Path) -> None:
    video = videos / "deep" / "a.mp4"
    source = listed(tmp_path / "list.csv", {"path": [video], "start": [0.3], "stop": [0.9]})
    run("infer", model, source, "-o", tmp_path / "out", "--format", "jsonl,npz,csv", "--start", "0.4")
    run("infer", model, video, "-o", tmp_path / "plain", "--format", "jsonl,npz,csv", "--start", "0.4", "--stop", "0.9")
    name = "a.mp4@0.3-0.9"
    clip, plain = ((path).read_text() for path in (tmp_path / "out" / f"{name}.jsonl", tmp_path / "plain/a.mp4.jsonl"))
    assert clip.splitlines()[1:] == plain.splitlines()[1:]
    assert (tmp_path / "out" / f"{name}.csv").read_bytes() == (tmp_path / "plain" / "a.mp4.csv").read_bytes()
    with np.load(tmp_path / "out" / f"{name}.npz") as arrays:
        assert json.loads(str(arrays["header"]))["clip"]["start_s"] == 0.3
    assert [result.frame_index for result in read_results(tmp_path / "out" / f"{name}.jsonl").results] == [
        4,
        5,
        6,
        7,
        8,
    ]


def test_without_ids_results_lie_as_the_sources_do(videos: Path, tmp_path: Path) -> None:
    paths = [str(videos / "deep" / "a.mp4"), str(videos / "b.mp4"), str(videos / "b.mp4")]
    source = listed(tmp_path / "list.csv", {"path": paths, "start": [1, None, 0.5], "stop": [2, None, None]})
    jobs = plan([source], Path("out"), Path("drawn"), "jsonl,openpose")
    assert [job.output for job in jobs] == [
        Path("out/deep/a.mp4@1.0-2.0.jsonl"), Path("out/b.mp4.jsonl"), Path("out/b.mp4@0.5-.jsonl"),
    ]  # fmt: skip
    assert jobs[1].more == (Path("out/b.mp4_json"),)
    assert jobs[1].overlay == Path("drawn/b.mp4.mp4")
    assert [pickle.loads(pickle.dumps(job)) for job in jobs] == list(jobs)


def test_what_is_carried(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    columns = {"n": [7], "x": [np.float64("nan")], "on": [True], "day": pyarrow.array([0], pyarrow.date32())}
    (job,) = plan([listed(path, {"path": ["a.png"], "id": [3], **columns})], tmp_path, None, "openpose")
    assert job.clip == Clip("3", columns=(("n", 7), ("x", None), ("on", True), ("day", "1970-01-01")))
    assert job.output == tmp_path / "3_keypoints.json"


def test_another_clip_of_the_same_name_is_done_again(run: Run, model: Path, videos: Path, tmp_path: Path) -> None:
    video, out, path = videos / "b.mp4", tmp_path / "out", tmp_path / "list.csv"
    run("infer", model, listed(path, {"path": [video, video], "id": ["x", "y"], "stop": [0.3, 0.4]}), "-o", out)
    before = tree(out)
    source = listed(path, {"path": [video, video], "id": ["x", "y"], "stop": [0.3, 0.5]})
    _, _, err = run("infer", model, source, "-o", out, "--resume")
    assert "1 sources were finished before" in err
    assert (before["x.jsonl"], before["y.jsonl"]) != (tree(out)["x.jsonl"], tree(out)["y.jsonl"])
    assert (before["x.jsonl"], 5) == (tree(out)["x.jsonl"], len(read(out / "y.jsonl")[1]))


def test_a_clip_that_is_not_there_fails_alone(run: Run, model: Path, videos: Path, tmp_path: Path) -> None:
    source = listed(tmp_path / "list.csv", {"path": [videos / "gone.mp4", videos / "b.mp4"]})
    code, _, err = run("infer", model, source, "-o", tmp_path / "out")
    assert (code, (tmp_path / "out" / "b.mp4.jsonl").exists()) == (3, True)
    assert "gone.mp4 does not exist" in err


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_jobs_come_as_they_are_asked_for(tmp_path: Path, form: str) -> None:
    """A list of a million clips is never held as a whole: what is wrong with row 30,000 shows when its turn comes."""
    source = listed(tmp_path / f"list.{form}", {"path": ["a.mp4"] * 29_999 + [""], "id": list(range(30_000))})
    jobs = planned([source], tmp_path, None, "jsonl")
    assert next(jobs).clip == Clip("0")
    with pytest.raises(PosertError, match=r"row 30000 of the list .* has no path"):
        list(jobs)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no column path"),
        ("name,start\na.mp4,1\n", "has no column path"),
        ("path;start\na.mp4;1\n", "has no column path"),
        ("path,start,start\na.mp4,1,2\n", "has two columns start"),
        ("path\n", "is empty"),
        ("path,start\na.mp4,soon\n", "row 1 .*start is 'soon'"),
        ("path,start,stop\na.mp4,1,2\nb.mp4,3,2\n", "row 2 .*from 3.0 to 2.0 s"),
        ("path,start\na.mp4,-1\n", "row 1 .*from -1.0"),
        ("path,stop\na.mp4,inf\n", "stop is 'inf'"),
        ("path,id\na.mp4,../../etc\n", "no name for results"),
        ("path,id\na.mp4,/etc/x\n", "no name for results"),
        ("path,id\na.mp4,x//y\n", "no name for results"),
        ("path,id\na.mp4,x,3\n", "more fields"),
    ],
)
def test_what_is_no_list(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(PosertError, match=said):
        plan([f"@{tmp_path / 'list.csv'}"], tmp_path / "out", None, "jsonl")


@pytest.mark.parametrize("name", ["list.csv", "list.parquet", "gone.csv"])
def test_what_is_no_table(tmp_path: Path, name: str) -> None:
    if name != "gone.csv":
        (tmp_path / name).write_bytes(b"\xff\xfe\x00path")
    with pytest.raises(PosertError, match="cannot be read"):
        plan([f"@{tmp_path / name}"], tmp_path / "out", None, "jsonl")


def test_a_column_of_lists_is_refused(tmp_path: Path) -> None:
    source = listed(tmp_path / "list.parquet", {"path": ["a.mp4"], "box": [[1, 2]]})
    with pytest.raises(PosertError, match="the column box"):
        plan([source], tmp_path / "out", None, "jsonl")
