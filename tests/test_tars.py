"""Tars of clips: every member is read where it lies, and is the file that it would be on a disk."""

import gzip
import io
import shutil
import tarfile
from pathlib import Path

import cv2
import media
import pytest
from command import Run, rows, tree

from posert import PosertError
from posert.runtime.jobs.planning import plan
from posert.runtime.media.containers import chain_loss, indexed_frames
from posert.runtime.media.members import open_file
from posert.runtime.media.read import frame_count, frame_rate, frames


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    media.encoded(folder / "deep" / "a.mp4", "mpeg4", encoder={"g": "5"})
    media.video(folder / "b.avi", count=4)
    media.encoded(folder / "c.mkv", "mpeg4")
    cv2.imwrite(str(folder / "d.png"), media.numbered(2))
    (folder / "e.txt").write_text("no clip")
    return folder


@pytest.fixture
def tar(clips: Path, tmp_path: Path) -> Path:
    with tarfile.open(tmp_path / "clips.tar", "w") as file:
        for path in sorted(each for each in clips.rglob("*") if each.is_file()):
            file.add(path, path.relative_to(clips).as_posix())
    return tmp_path / "clips.tar"


def test_results_are_those_of_the_files(run: Run, model: Path, clips: Path, tar: Path, tmp_path: Path) -> None:
    options = ("--format", "csv,jsonl,openpose", "--start", 0.2)
    assert run("infer", model, tar, "-o", tmp_path / "out", *options)[0] == 0
    assert run("infer", model, clips, "-o", tmp_path / "plain", *options)[0] == 0
    near, far = tree(tmp_path / "plain"), tree(tmp_path / "out")
    assert far.keys() == near.keys()
    for name in far.keys() - {"manifest.jsonl"}:
        assert far[name] == near[name].replace(str(clips).encode(), str(tar).encode())
    assert [row["sha256"] for row in rows(tmp_path / "out")] == [row["sha256"] for row in rows(tmp_path / "plain")]
    _, _, err = run("infer", model, tar, "-o", tmp_path / "out", *options, "--resume")
    assert "4 sources were finished before" in err


def test_nothing_is_unpacked(tar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file is made")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    monkeypatch.setattr("tempfile.mkstemp", refuse)
    assert len(list(frames(tar))) == 30 + 4 + 30 + 1


@pytest.mark.parametrize("name", ["deep/a.mp4", "b.avi", "c.mkv"])
def test_a_member_is_looked_at_as_its_file(clips: Path, tar: Path, name: str) -> None:
    far, near = f"{tar}/{name}", str(clips / name)
    with open_file(far) as file:
        assert file.read() == (clips / name).read_bytes()
    for look in (frame_count, frame_rate, chain_loss, indexed_frames):
        assert look(far) == look(near)
    times = [[(frame.index, frame.time_s) for frame in frames(source, start_s=0.2)] for source in (far, near)]
    assert times[0] == times[1] != []


def test_a_member_that_was_cut_off_is_noticed(tmp_path: Path) -> None:
    """The tar is whole, a file was cut off before it was packed: the bytes behind it belong to the next member."""
    front = media.cut_off_video(tmp_path)
    with tarfile.open(tmp_path / "clips.tar", "w") as file:
        file.add(front, "front.mp4")
        file.add(front, "next.mp4")
    with pytest.raises(PosertError, match=r"clips.tar/front.mp4 is cut off: \d+ bytes are missing"):
        list(frames(tmp_path / "clips.tar"))


def test_a_packed_tar_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "clips.tar.gz").write_bytes(gzip.compress(b"tar"))
    with pytest.raises(PosertError) as caught:
        list(frames(tmp_path / "clips.tar.gz"))
    assert "gzip is not read" in caught.value.hint


@pytest.mark.parametrize("how", ["cut", "gzip", "text"])
def test_what_is_no_whole_tar(tar: Path, how: str) -> None:
    if how == "gzip":
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as file:
            file.add(tar, "a.mp4")
        tar.write_bytes(packed.getvalue())
    else:
        tar.write_bytes(tar.read_bytes()[:3000] if how == "cut" else b"no tar" * 1000)
    with pytest.raises(PosertError, match="is no whole tar"):
        plan([str(tar)], tar.with_name("out"), None, "jsonl")


@pytest.mark.parametrize("name", ["../../evil.mp4", "/evil.mp4", "deep/../../evil.mp4"])
def test_names_that_lead_elsewhere(clips: Path, tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as file:
        (member := tarfile.TarInfo(name)).size = 3
        file.addfile(member, io.BytesIO(b"abc"))
    with pytest.raises(PosertError, match="leads out of the folder of the results"):
        plan([str(tmp_path / "evil.tar")], tmp_path / "out", None, "jsonl")


def test_a_pattern_of_tars(run: Run, model: Path, tar: Path, tmp_path: Path) -> None:
    """As WebDataset's shards are named; results lie below their tar, for members of two may have one name."""
    (tmp_path / "shards" / "deep").mkdir(parents=True)
    for name in ("clips-00.tar", "deep/clips-01.tar"):
        shutil.copy(tar, tmp_path / "shards" / name)
    pattern = tmp_path / "shards" / "**" / "clips-*.tar"
    assert run("infer", model, pattern, "-o", tmp_path / "out")[0] == 0
    members = ("b.avi", "c.mkv", "d.png", "deep/a.mp4")
    assert [Path(row["output"]) for row in rows(tmp_path / "out")] == [
        Path(f"{name}/{member}.jsonl") for name in ("clips-00.tar", "deep/clips-01.tar") for member in members
    ]
    assert run("infer", model, pattern, "-o", tmp_path / "shards", "--overwrite")[0] == 3  # a tar is no folder
    assert (tmp_path / "shards" / "clips-00.tar").read_bytes() == tar.read_bytes()
    with pytest.raises(PosertError, match="no tar matches"):
        plan([str(tmp_path / "none-*.tar")], tmp_path, None, "jsonl")


def test_a_tar_is_an_input(run: Run, model: Path, tar: Path) -> None:
    code, _, err = run("infer", model, tar, "-o", tar, "--overwrite")
    assert (code, "an input" in err or "several sources" in err or "cannot be written" in err) == (1, True)
    assert len(list(frames(tar))) == 65
