"""`--shard env`: a share of the sources by the variables of SLURM and Kubernetes, and the job files of examples/."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import media
import pytest
from command import ROOT, Run, rows

from posert.errors import PosertError
from posert.runtime.jobs.shard import read_shard

FILES = ROOT / "examples" / "cluster"
ARRAY = {"SLURM_ARRAY_TASK_MIN": "4", "SLURM_ARRAY_TASK_MAX": "10", "SLURM_ARRAY_TASK_COUNT": "4"}
EVERY = ARRAY | {"SLURM_ARRAY_TASK_STEP": "2", "SLURM_ARRAY_TASK_ID": "8"}
STEP = {"SLURM_PROCID": "1", "SLURM_NTASKS": "9", "SLURM_STEP_NUM_TASKS": "3", "SLURM_STEP_ID": "0"}
BATCH = {"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (EVERY, (3, 4)),
        (EVERY | BATCH, (3, 4)),
        (STEP, (2, 3)),
        (EVERY | STEP, (8, 12)),
        (BATCH, (1, 1)),
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "1", "POSERT_SHARDS": "8"}, (4, 8)),  # once more
        ({"JOB_COMPLETION_INDEX": "0", "POSERT_SHARDS": "3"}, (1, 3)),
        ({"JOB_COMPLETION_INDEX": "2", "POSERT_SHARDS": "3"}, (3, 3)),
    ],
)
def test_the_share_by_a_schedulers_variables(environment: dict[str, str], expected: tuple[int, int]) -> None:
    assert read_shard("env", environment) == expected


@pytest.mark.parametrize(
    ("environment", "what", "hint"),
    [
        ({}, "neither SLURM's nor Kubernetes'", "write I/N"),
        ({"JOB_COMPLETION_INDEX": "1"}, "POSERT_SHARDS is not set", "export POSERT_SHARDS=N"),
        ({"JOB_COMPLETION_INDEX": "3", "POSERT_SHARDS": "3"}, "number 3, counted from 0, of 3", "completions"),
        ({"JOB_COMPLETION_INDEX": "x", "POSERT_SHARDS": "3"}, "JOB_COMPLETION_INDEX is 'x'", "whole number"),
        (EVERY | {"SLURM_ARRAY_TASK_COUNT": "3"}, "not numbered evenly", "as 0-2"),
        ({"SLURM_ARRAY_TASK_ID": "3"}, "SLURM_ARRAY_TASK_MAX is not set", "whole number"),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, "not started by srun", "write srun"),
    ],
)
def test_variables_that_say_no_share(environment: dict[str, str], what: str, hint: str) -> None:
    with pytest.raises(PosertError) as found:
        read_shard("env", environment)
    assert what in found.value.what
    assert hint in found.value.hint


def test_the_command_outside_of_a_scheduler(run: Run, model: Path, tmp_path: Path) -> None:
    media.video(tmp_path / "a.mp4")
    code, _, err = run("infer", model, tmp_path / "a.mp4", "-o", tmp_path / "out.jsonl", "--shard", "env")
    assert code == 1
    assert "--shard env: neither" in err
    assert not (tmp_path / "out.jsonl").exists()


@pytest.fixture
def commands(tmp_path: Path) -> dict[str, str]:
    """An environment whose `posert` is this checkout, and whose `srun` starts one process."""
    folder = tmp_path / "commands"
    folder.mkdir()
    scripts = {
        "posert": f'exec "{sys.executable}" -m posert.cli "$@"',
        "srun": 'export SLURM_PROCID=0 SLURM_NTASKS=1 SLURM_STEP_NUM_TASKS=1 SLURM_STEP_ID=0; exec "$@"',
    }
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PYTHONPATH": str(ROOT / ".typing"), "PATH": path}


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    for number in range(8):
        media.video(tmp_path / "videos" / f"{number}.mp4", count=3)
    return tmp_path / "videos"


def called(words: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_the_job_file_for_slurm(commands: dict[str, str], videos: Path) -> None:
    """Its array has eight tasks; the second does the second of eight videos."""
    text = (FILES / "slurm.sh").read_text()
    fields = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)$", text, re.MULTILINE))
    assert fields["array"] == "0-7"
    assert fields["ntasks"] == "1"
    array = {"SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "7", "SLURM_ARRAY_TASK_COUNT": "8"}
    slurm = array | {"SLURM_ARRAY_TASK_ID": "1", "SLURM_CPUS_PER_TASK": fields["cpus-per-task"]}
    out = videos.parent / "out"
    called(["bash", str(FILES / "slurm.sh"), str(videos), str(out)], commands | slurm)
    assert [row["output"] for row in rows(out, "manifest-2-of-8.jsonl")] == ["1.mp4.npz"]


def test_the_job_file_for_kubernetes(commands: dict[str, str], videos: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="needs pyyaml, which Ray brings")
    job = yaml.safe_load((FILES / "kubernetes.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    given = {each["name"]: each["value"] for each in container["env"]}
    assert spec["completionMode"] == "Indexed"
    assert given["POSERT_SHARDS"] == str(spec["completions"])
    assert pod["restartPolicy"] == "Never"  # what a policy for failed pods asks for
    assert spec["podFailurePolicy"]["rules"][1]["onExitCodes"]["containerName"] == container["name"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
    words = [word.replace("/data", str(videos.parent)) for word in container["command"]]
    called(words, commands | given | {"JOB_COMPLETION_INDEX": "7"})
    assert [row["output"] for row in rows(videos.parent / "features", "manifest-8-of-8.jsonl")] == ["7.mp4.npz"]
