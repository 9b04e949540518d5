"""Every command and every program of the README runs, on files made for it."""

import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import cv2
import media
import pytest
import recordings
import tiny_parts
from caffe_files import prototxt, weights, write_caffemodel
from pifpaf_files import checkpoint

from posert.cli import main
from posert.export.weights import entries, find

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]
NEEDS_EXPORT = (
    "posert export", "posert tag", "posert infer movenet", "posert infer openpose", "posert eval movenet",
    "posert models pull", "posert fuse", "posert infer openpifpaf",
)  # fmt: skip


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the README names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POSERT_HOME", str(tmp_path / "home"))
    media.video(tmp_path / "walk.mp4", count=40)
    (tmp_path / "videos").mkdir()
    for name in ("a.mp4", "b.mp4"):
        media.video(tmp_path / "videos" / name, count=20)
    cv2.imwrite("photo.jpg", media.numbered(3))
    tiny_parts.hands(tmp_path / "my_hands.onnx")
    (tmp_path / "features").mkdir()
    for name in ("walk.jsonl", "features/walk.mp4.jsonl"):
        recordings.walkers(tmp_path / name, "walk.mp4", frames=40)
    (tmp_path / "frames.rgb").write_bytes(bytes(64 * 48 * 3 * 4))
    (tmp_path / "images").mkdir()
    cv2.imwrite("images/1.jpg", media.numbered(3))
    (tmp_path / "person_keypoints.json").write_text(
        '{"images":[{"id":1,"file_name":"1.jpg","width":64,"height":48}],"categories":[{"id":1,"name":"person"}],'
        '"annotations":[{"id":1,"image_id":1,"category_id":1,"iscrowd":0,"area":400,"bbox":[10,10,20,20],'
        '"num_keypoints":17,"keypoints":[' + ",".join(["20,20,2"] * 17) + "]}]}"
    )
    return tmp_path


def run(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [word.strip("'") for word in command.split()]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as done:
        main()
    assert not done.value.code, command


IN_C = [c for c in COMMANDS if c.startswith(("posert bundle", "make -C", "posert verify"))]
SERVES = [c for c in COMMANDS if c.startswith(("posert serve", "posert live"))]  # test_serve_docs.py, test_live_page.py
PLAIN = [
    c for c in COMMANDS if c.startswith("posert ") and not c.startswith(NEEDS_EXPORT) and c not in [*IN_C, *SERVES]
]


@pytest.mark.parametrize("command", PLAIN)
def test_commands_run(command: str, sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(command, monkeypatch)
    for written in re.findall(r"(?:-o|--overlay) (\S+)", command):
        assert (sandbox / written).exists()


def test_the_pipe(sandbox: Path) -> None:
    (command,) = (c for c in COMMANDS if c.startswith("cat "))
    file, posert = command.removeprefix("cat ").split(" | ")
    environment = {"PYTHONPATH": str(ROOT / ".typing"), "PATH": "", "HOME": str(sandbox)}
    done = subprocess.run(
        [sys.executable, "-m", "posert.cli", *posert.split()[1:]],
        input=(sandbox / file).read_bytes(), capture_output=True, check=True, env=environment,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == 5


def _small_body_25(path: Path) -> None:
    """Random weights, and a deploy file beside them with two layers in place of BODY_25's hundreds."""
    halved = {"pool": "MAX", "kernel_size": 2, "stride": 2}
    pools = [[f"p{i}", "Pooling", [f"p{i - 1}"], [f"p{i}"], halved] for i in (1, 2, 3)]
    first = ["p0", "Convolution", ["image"], ["p0"], {"num_output": 8, "pad": 1, "kernel_size": 3}]
    last = ["net_output", "Convolution", ["p3"], ["net_output"], {"num_output": 78, "pad": 0, "kernel_size": 1}]
    topology = {"input": "image", "input_dim": [1, 3, 16, 16], "layers": [first, *pools, last]}
    write_caffemodel(path.with_suffix(".caffemodel"), weights(topology))
    path.with_suffix(".prototxt").write_text(prototxt(topology))


def _own_checkpoint(folder: Path) -> bool:
    """Writes mine.pkl as OpenPifPaf's trainer would, with random weights; False where its package is not installed."""
    from posert.errors import PosertError
    from posert.export.systems.openpifpaf import import_network

    try:
        made = import_network()
    except PosertError:
        return False
    made.basenetworks.MobileNetV3.pretrained = False  # or the factory fetches ImageNet's weights
    checkpoint(made, "mobilenetv3small", folder).rename(folder / "mine.pkl")
    return True


@pytest.mark.export
def test_the_commands_that_convert(sandbox: Path, assets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the README's order; the official files come from a mirror."""
    weights = assets / "models"
    (sandbox / "mirror").mkdir()
    shutil.copy(
        weights / "movenet_singlepose_lightning_4_int8.tflite",
        sandbox / "mirror" / "movenet_single_pose_lightning_ptq.tflite",
    )
    for file in (*(weights / "movenet_tfjs").iterdir(), *(weights / "mediapipe_tfjs").iterdir()):
        shutil.copy(file, sandbox / "mirror")
    shutil.copy("walk.mp4", "dance.mp4")
    shutil.copy(weights / "tfpose_mobilenet_v2_small_graph_opt.pb", "graph_opt.pb")
    shutil.copy(weights / "openvino_human_pose_estimation_0001_w8.onnx", "human-pose-estimation-0001.onnx")
    _small_body_25(sandbox / "pose_iter_584000")
    digest = hashlib.md5((sandbox / "pose_iter_584000.caffemodel").read_bytes(), usedforsecurity=False).hexdigest()
    rows = entries() | {"openpose-body25": replace(find("openpose-body25"), md5=digest)}
    monkeypatch.setattr("posert.export.weights.entries", lambda: rows)
    monkeypatch.setenv("POSERT_MIRROR", str(sandbox / "mirror"))
    converting = [c for c in COMMANDS if c.startswith(NEEDS_EXPORT)]
    assert len(converting) == 14
    if not _own_checkpoint(sandbox):
        converting = [command for command in converting if "openpifpaf" not in command]
    for command in converting:
        run(command, monkeypatch)
    run("posert infer openpose-openvino-0001.onnx walk.mp4 -o walk.jsonl", monkeypatch)


@pytest.mark.skipif(not all(map(shutil.which, ("cc", "make"))), reason="needs a C compiler")
def test_the_commands_in_c(sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(IN_C) == 3
    run(IN_C[0], monkeypatch)
    subprocess.run(IN_C[1].split(), check=True)
    run(IN_C[2], monkeypatch)


def test_nothing_else_is_promised() -> None:
    other = [c for c in COMMANDS if not c.startswith(("posert ", "cat ")) and c not in IN_C]
    assert other == ["make demo", "make test", "pip install 'posert[cpu]'", "pip install 'posert[cpu,serve]'"]
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make demo" in ci
    assert "make test" in ci
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = {name for names in re.findall(r"posert\[([a-z,-]+)\]", README) for name in names.split(",")}
    assert named <= set(extras)


def test_the_python_example_runs(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(program, "README.md", "exec"), {})


def test_every_measured_claim_names_a_script_that_exists() -> None:
    scripts = re.findall(r"tests/bench/\w+\.py", README)
    assert scripts
    assert all((ROOT / script).is_file() for script in scripts)


def test_help_of_every_command_has_an_example_or_a_sentence() -> None:
    from typer.main import get_command

    from posert.cli import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    assert {"infer", "export", "tag", "eval", "info", "doctor", "models"} <= set(commands)
    assert all(command.help for command in commands.values())
    assert all(f"posert {name}" in README for name in commands)
