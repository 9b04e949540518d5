"""Pages as files: what is in them, what cannot be in them, and where they are written. What a browser makes of them is
in test_pages_browser.py.
"""

import base64
import hashlib
import json
import re
import shutil
import zlib
from pathlib import Path

import media
import numpy as np
import pytest
import recordings
from command import ROOT, Run

from posert.pages.events import events_of
from posert.pages.html import in_script, page, script
from posert.pages.pack import pack, tabulate
from posert.runtime.files.results import read_results

MODULES = sorted((ROOT / "pages").glob("*.js"))


def walkers(folder: Path, **options: object) -> Path:
    return recordings.walkers(folder / "walk.jsonl", "walk.mp4", **options)


def unpacked(head: dict, blocks: dict[str, str]) -> dict[str, np.ndarray]:
    """As recording.js does it, in the slow obvious way."""
    data, found = b"".join(zlib.decompress(base64.b64decode(blocks[name])) for name in head["blocks"]), {}
    for column in (column for block in head["blocks"].values() for column in block):
        kind = np.dtype({"i16": "<i2", "u8": "u1", "i32": "<i4", "f32": "<f4", "f64": "<f8"}[column["type"]])
        part, data = data[: column["length"] * kind.itemsize], data[column["length"] * kind.itemsize :]
        if column["type"] == "i16":
            low, high = np.frombuffer(part, "u1").reshape(2, -1).astype(int)
            code = low + 256 * high
            moved = np.where(code & 1, -1 - (code >> 1), code >> 1).reshape(column["columns"], -1)
            found[column["name"]] = moved.cumsum(axis=1)
        else:
            found[column["name"]] = np.frombuffer(part, kind)
    assert not data
    return found


def test_what_is_packed_is_what_was_there(tmp_path: Path) -> None:
    recording = read_results(walkers(tmp_path))
    table = tabulate(recording.results, recording.skeleton)
    head, columns = pack(table, recording.skeleton)
    found = unpacked(head, columns)
    assert [(t["id"], t["end"] - t["begin"]) for t in head["tracks"]] == [(1, 60), (2, 30), (3, 20)]
    assert found["position"].tolist() == [*range(60), *range(10), *range(20, 40), *range(40, 60)]
    assert np.abs(found["x"].T / head["scale"] - table.keypoints[:, :, 0]).max() < 0.02
    assert np.abs(found["box"].T / head["scale"] - table.boxes_xyxy).max() < 0.02
    assert np.abs(found["seen"].reshape(17, -1).T / 255 - 0.8).max() < 0.002
    elbow = recordings.joints(1, 0)[[5, 7, 9]]
    one, other = elbow[0] - elbow[1], elbow[2] - elbow[1]
    degrees = np.degrees(np.arccos(one @ other / np.linalg.norm(one) / np.linalg.norm(other)))
    assert found["angle"].reshape(8, -1)[head["joints"].index("left_elbow")] == pytest.approx(10 * degrees, abs=0.6)
    torso = np.linalg.norm(recordings.joints(1, 0)[[5, 6]].mean(0) - recordings.joints(1, 0)[[11, 12]].mean(0))
    speed = found["speed"].reshape(17, -1)[0]
    assert speed[0] == -1
    assert speed[1] == pytest.approx(100 * 0.5 * recordings.FPS / torso, abs=1)


def test_a_keypoint_that_was_not_found_stays_so_and_one_that_was_too(tmp_path: Path) -> None:
    path = walkers(tmp_path, frames=1, ids=False)
    row = json.loads(path.read_text().splitlines()[1])
    row["people"][0]["keypoints"][0], row["people"][0]["keypoints"][1][2] = [0, 0, 0], 0.0001
    row["people"][0]["keypoints"][2][:2] = [1e9, -1e9]
    path.write_text(path.read_text().splitlines()[0] + "\n" + json.dumps(row) + "\n")
    recording = read_results(path)
    head, columns = pack(tabulate(recording.results, recording.skeleton), recording.skeleton)
    assert unpacked(head, columns)["seen"].reshape(17, 2)[:3, 0].tolist() == [0, 1, 204]
    assert unpacked(head, columns)["x"][2, 0] / head["scale"] == 4 * 320


def test_what_happens_to_ids(tmp_path: Path) -> None:
    recording = read_results(walkers(tmp_path))
    found = events_of(tabulate(recording.results, recording.skeleton))
    assert [(event["kind"], event["position"], event["id"]) for event in found] == [
        ("gap", 20, 2), ("ends", 39, 2), ("change", 40, 3),
    ]  # fmt: skip
    assert found[0]["seconds"] == pytest.approx(11 / 30)
    assert found[2]["before"] == 2


HOSTILE = '</script ><script>alert(1)<script><img src=x onerror="alert(1)">'


def test_nothing_in_a_file_becomes_more_than_data(run: Run, tmp_path: Path) -> None:
    names = (HOSTILE, *(f"<b>{k}</b>" for k in range(16)))
    recordings.walkers(tmp_path / "a.jsonl", HOSTILE.replace("/", "\\"), names=names)
    assert run("report", tmp_path / "a.jsonl", "-o", tmp_path / "a.html")[0] == 0
    text = (tmp_path / "a.html").read_text()
    assert HOSTILE not in text
    assert text.count("<script") == text.count("</script>") == 4
    assert "<b>" not in text
    assert "&lt;script&gt;alert(1)" in re.search(r"<title>(.*)</title>", text)[1]
    assert json.loads(in_script({HOSTILE: HOSTILE})) == {HOSTILE: HOSTILE}


def test_the_policy_lets_nothing_run_but_our_script_and_nothing_load_from_elsewhere() -> None:
    text = page("x", entry="report", data={}, blocks={"people": ""})
    policy = dict(part.split(" ", 1) for part in re.search(r'-Policy" content="([^"]*)"', text)[1].split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    for name, pattern in {
        "script-src": r'<script type="module">(.*?)</script>',
        "style-src": "<style>(.*?)</style>",
    }.items():
        inside = re.search(pattern, text, re.DOTALL)[1]
        assert policy[name] == f"'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'"
    assert not re.search(r"(src|href)=[\"']?(https?:)?//|url\(|@import", text)


def test_modules_can_stand_in_one_script() -> None:
    """No two top-level names alike, every import by name from a module beside it, every module in a page."""
    tops = [
        n
        for path in MODULES
        for n in re.findall(r"^(?:export )?(?:async )?(?:const|let|class|function) (\w+)", path.read_text(), re.M)
    ]
    assert len(tops) == len(set(tops))
    for path in MODULES:
        for line in path.read_text().splitlines():
            assert not line.startswith("import") or re.fullmatch(r'import \{ [\w, ]+ \} from "\./\w+\.js";', line), line
    pages = [script(entry) for entry in ("report", "compare", "live", "plot")]
    assert not any(re.search(r"^(import|export)\b", text, re.MULTILINE) for text in pages)
    assert all(any(path.read_text().splitlines()[0] in text for text in pages) for path in MODULES)


def test_no_page_writes_over_what_it_reads(run: Run, tmp_path: Path) -> None:
    """The encoded video of `walk.mp4` would once have taken its place."""
    video, results = media.video(tmp_path / "walk.mp4"), walkers(tmp_path, frames=12)
    (tmp_path / "notes.html").write_text("mine")
    before = {path: path.read_bytes() for path in (video, results, tmp_path / "notes.html")}
    for output in (video, results, tmp_path / "notes.html"):
        code, _, err = run("report", results, "-o", output)
        assert code == 1, output
        assert "would be written over" in err or "--overwrite" in err
    for _ in range(2):
        assert run("report", results, "--video", video, "-o", tmp_path / "walk.html")[0] == 0
    assert before == {path: path.read_bytes() for path in before}
    assert [path.name for path in tmp_path.glob("walk.video.*")] == ["walk.video.mp4"]
    assert run("report", results, "-o", tmp_path / "notes.html", "--overwrite")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.jsonl", "-o", "a.html"], "cannot be read"),
        (["walk.mp4", "-o", "a.html"], "does not begin as"),
        (["walk.jsonl", "--video", "none.mp4", "-o", "a.html"], "none.mp4 is no file"),
        (["walk.jsonl", "walk.jsonl", "--video", "walk.mp4", "-o", "a.html"], "of one file of results"),
        (["empty", "-o", "a.html"], "no results in"),
    ],
)
def test_what_cannot_be_shown_is_said(
    arguments: list[str], said: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    media.video(tmp_path / "walk.mp4")
    walkers(tmp_path, frames=12)
    (tmp_path / "empty").mkdir()
    code, _, err = run("report", *arguments)
    assert code == 1
    assert said in err
    assert not (tmp_path / "a.html").exists()


def test_an_index_of_a_folder(run: Run, model: Path, tmp_path: Path) -> None:
    """What the manifest says: one is done, one failed, and one of another run is left."""
    for name in ("a.mp4", "b & <c>.mp4"):
        media.video(tmp_path / name, count=12)
    (tmp_path / "videos" / "inner").mkdir(parents=True)
    (tmp_path / "a.mp4").rename(tmp_path / "videos" / "inner" / "a.mp4")
    (tmp_path / "b & <c>.mp4").rename(tmp_path / "videos" / "b & <c>.mp4")
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"hello" * 99)
    assert run("infer", model, tmp_path / "videos", "-o", tmp_path / "out", "--track", "-q")[0] == 3
    code, out, _ = run("report", tmp_path / "out", "-o", tmp_path / "all.html")
    assert code == 3
    assert "all.html" in out
    text = (tmp_path / "all.html").read_text()
    pages = sorted(path.relative_to(tmp_path).as_posix() for path in (tmp_path / "all_pages").rglob("*.html"))
    assert pages == ["all_pages/b & <c>.mp4.html", "all_pages/inner/a.mp4.html"]
    assert "./all_pages/b%20%26%20%3Cc%3E.mp4.html" in text
    assert "b &amp; &lt;c&gt;.mp4" in text
    assert re.search(r'<article class="card failed">.*broken\.mp4.*cannot be opened', text)
    assert text.count("data:image/jpeg;base64,") == 2
    assert '"home":"./../../all.html"' in (tmp_path / pages[1]).read_text()
    shutil.rmtree(tmp_path / "out" / "inner")
    (tmp_path / "out" / "manifest.jsonl").unlink()
    assert run("report", tmp_path / "out", "-o", tmp_path / "all.html")[0] == 0
    assert "<b>1</b>sources" in (tmp_path / "all.html").read_text()
