"""Every program of examples/ runs, on the drawn clip; the fall detection gives the figures of its guide."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from command import ROOT
from doc_blocks import blocks
from serving import serving

from posert.export.nano import clip

EXAMPLES = ROOT / "examples"
GUIDE = ROOT / "docs" / "guides" / "falls.md"
C_FLAGS = ("-Wall", "-Wextra", "-Werror", "-Inano_c", "-Lnano_c", "-lposert", "-Wl,-rpath,nano_c", "-lm")


def called(*words: object, folder: Path, given: bytes | None = None) -> str:
    """What a program printed; `posert` and `python3` are this checkout and this Python."""
    commands = folder / ".commands"
    commands.mkdir(exist_ok=True)
    for name, script in (("posert", "-m posert.cli "), ("python", ""), ("python3", "")):
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {script}"$@"\n')
        (commands / name).chmod(0o755)
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        list(map(str, words)), cwd=folder, input=given, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / ".typing"), "PATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout.decode()


def program(name: str, *words: object, folder: Path, given: bytes | None = None) -> str:
    return called(sys.executable, EXAMPLES / name, *words, folder=folder, given=given)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the drawn clip, its people, and one frame as photo.jpg."""
    folder = tmp_path_factory.mktemp("examples")
    called("python", "-m", "posert.export.nano.clip", "walk.mp4", folder=folder)
    called("posert", "infer", "nano", "walk.mp4", "-o", "walk.jsonl", "--track", folder=folder)
    cv2.imwrite(str(folder / "photo.jpg"), clip.render(0)[0])
    return folder


def test_angles(drawn: Path) -> None:
    said = program("angles.py", "walk.jsonl", folder=drawn)
    low, high = map(int, re.findall(r"person 2: left knee (\d+) to (\d+)", said)[0])
    assert low < 120 < 170 < high  # who walks bends a knee; who stands and waves does not
    assert int(re.findall(r"person 1: left knee (\d+)", said)[0]) > 165


def test_crossings(drawn: Path) -> None:
    """The truth of the clip: the second person goes to the right first, the third to the left."""
    said = program("crossings.py", "walk.jsonl", 320, folder=drawn)
    assert re.search(r"0\.\d+ s: person 2 to the right", said)
    assert re.search(r"1\.\d+ s: person 3 to the left", said)


def test_hands_up(drawn: Path) -> None:
    if not shutil.which("node"):
        pytest.skip("needs node")
    said = called("node", EXAMPLES / "hands_up.mjs", folder=drawn, given=(drawn / "walk.jsonl").read_bytes())
    assert "person 1 raises a hand" in said  # the one who waves


def test_best_frame(drawn: Path) -> None:
    assert program("best_frame.py", "walk.mp4", "best.jpg", folder=drawn).endswith("4 people\n")
    assert (drawn / "best.jpg").stat().st_size > 10_000


def test_hide_faces(drawn: Path) -> None:
    """Only heads change: of the second person's feet no pixel does, but by the coding of the video."""
    said = program("hide_faces.py", "walk.mp4", "hidden.mp4", folder=drawn)
    assert int(said.split()[0]) > 3 * 240
    before, after = (cv2.VideoCapture(str(drawn / name)).read()[1].astype(int) for name in ("walk.mp4", "hidden.mp4"))
    row = json.loads((drawn / "walk.jsonl").read_text().splitlines()[1])
    changed = np.abs(before - after).sum(2)
    nose, ankle = ([int(x) for x in row["people"][0]["keypoints"][part][:2]] for part in (0, 10))
    apart = [changed[y - 4 : y + 5, x - 4 : x + 5].mean() for x, y in (nose, ankle)]
    assert apart[0] > 2 * apart[1]


def test_a_folder(drawn: Path) -> None:
    (drawn / "videos").mkdir()
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(
            drawn / "hidden.mp4" if (drawn / "hidden.mp4").exists() else drawn / "walk.mp4", drawn / "videos" / name
        )
    for _ in range(2):
        assert called("bash", EXAMPLES / "folder.sh", "videos", "out", folder=drawn).startswith(
            "2 videos done, 480 frames"
        )


def test_a_server(drawn: Path) -> None:
    pytest.importorskip("uvicorn", reason="posert[serve] is not installed")
    (drawn / "gate").touch()
    with serving(drawn, "nano") as started:
        address = f"http://127.0.0.1:{started.port}"
        if shutil.which("curl"):
            assert called("bash", EXAMPLES / "photo.sh", "photo.jpg", address, folder=drawn).count("score") == 3
        if shutil.which("node"):
            said = called("node", EXAMPLES / "photo.mjs", address, "photo.jpg", folder=drawn)
            assert said.startswith("keypoints: nose, ")
            assert re.search(r"photo\.jpg: 4 people, 640 x 360 px$", said.rstrip())


@pytest.mark.skipif(not all(map(shutil.which, ("cc", "c++", "make"))), reason="needs a C and a C++ compiler")
def test_c_and_cpp(drawn: Path) -> None:
    """What they say of 60 frames is what Python found."""
    import onnxruntime

    (ort,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*")
    called("posert", "bundle", "nano", "-o", "nano_c", folder=drawn)
    called("make", "-C", "nano_c", folder=drawn)
    called("cc", "-std=c99", EXAMPLES / "c" / "raised.c", *C_FLAGS, "-o", "raised", folder=drawn)
    called("c++", "-std=c++17", EXAMPLES / "c" / "nearest.cpp", *C_FLAGS, "-o", "nearest", folder=drawn)
    video = cv2.VideoCapture(str(drawn / "walk.mp4"))
    raw = b"".join(video.read()[1][:, :, ::-1].tobytes() for _ in range(60))
    raised, nearest = (
        called(f"./{name}", 640, 360, "nano_c", ort, folder=drawn, given=raw) for name in ("raised", "nearest")
    )
    rows = [json.loads(line) for line in (drawn / "walk.jsonl").read_text().splitlines()[1:61]]
    assert set(re.findall(r"frame (\d+): person", raised)) == {str(row["frame"]) for row in rows if _hands_up(row)}
    for line, row in zip(nearest.splitlines(), rows, strict=True):
        boxes = [person["box_xyxy"] for person in row["people"]]
        largest = max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
        assert [float(number) for number in line.split()[2:]] == pytest.approx(largest, abs=0.01)


def _hands_up(row: dict) -> bool:
    return any(
        points[wrist][2] > 0 and points[0][2] > 0 and points[wrist][1] < points[0][1]
        for points in (person["keypoints"] for person in row["people"])
        for wrist in (4, 7)
    )


def test_every_program_is_in_the_list() -> None:
    listed = set(re.findall(r"\]\(([\w./]+)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8")))
    assert {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.*") if path.suffix in SUFFIXES} <= listed


SUFFIXES = (".py", ".sh", ".mjs", ".c", ".cpp")


def _figures(text: str) -> dict[str, tuple[int, int]]:
    return {
        kind: (int(right), int(of)) for kind, right, of in re.findall(r"^([\w-]+) (\d+)/(\d+)$", text, re.MULTILINE)
    }


@pytest.mark.docs
def test_fall_detection_gives_the_figures_of_its_guide(tmp_path: Path) -> None:
    """Of another processor's last bits one clip may change sides. Afterwards the real video, where it is at hand."""
    drawing, real = (block.text for block in blocks(GUIDE) if block.kind == "sh")
    (tmp_path / "examples").symlink_to(EXAMPLES)
    found = _figures(called("bash", "-euc", drawing, folder=tmp_path))
    table = re.findall(r"^\| ([\w-]+) \| (\d+) \| (\d+) \|$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    told = {kind: (int(right), int(of)) for kind, right, of in table}
    assert found.keys() == told.keys()
    assert abs(found["all"][0] - told["all"][0]) <= 1
    assert (tmp_path / "falls.jpg").exists()
    video = Path(os.environ.get("POSERT_ASSETS", ROOT.parent / "shared" / "assets")) / "media/videos/staged_falls.mp4"
    if video.exists():
        shutil.copy(video, tmp_path)
        said = called("bash", "-euc", real, folder=tmp_path).splitlines()
        falls = {float(line.split()[1]) for line in said if line.endswith("fall")}
        assert all(falls & begins for begins in ({0.0, 0.5, 1.0}, {3.5, 4.0, 4.5}, {13.0, 13.5, 14.0}))
        assert not falls & {8.0, 9.0, 10.0, 11.0}  # he lies, stands, talks
