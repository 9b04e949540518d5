"""The same job on a real local Ray cluster of two nodes on loopback."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import media
import pytest
from command import ROOT, Run, found, rows, tree

from posert.runtime.jobs.job import Job
from posert.runtime.jobs.on_ray import on_ray
from posert.runtime.jobs.recipe import Recipe
from posert.runtime.options import ModelOptions

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of two nodes with one CPU each."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80 * 2**20})
    made.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    yield made.address
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def on_cluster(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--on ray` means the cluster, whose actors find this checkout."""
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / ".typing"), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "in"
    (place / "deep").mkdir(parents=True)
    for number in range(5):
        media.video(place / "deep" / f"{number}.mp4", count=200)
    (place / "broken.mp4").write_bytes(b"no video")
    return place


def kill_an_actor_at_work(out: Path) -> None:
    """Kills the first process that has begun to write, as the kernel would when memory runs out."""
    while True:
        for path in found(out, ".posert-*/whole.jsonl"):
            os.kill(int(path.parent.name.split("-")[1]), 9)
            return
        time.sleep(0.005)


def test_the_cluster_writes_what_this_machine_writes(
    run: Run, model: Path, folder: Path, tmp_path: Path, on_cluster: None
) -> None:
    """One actor is killed in the middle of a video: nothing is lost, nothing is there twice."""
    assert run("infer", model, folder, "-o", tmp_path / "here", "--workers", 1, "--track")[0] == 3
    killer = threading.Thread(target=kill_an_actor_at_work, args=(tmp_path / "there",), daemon=True)
    killer.start()
    code, _, err = run("infer", model, folder, "-o", tmp_path / "there", "--on", "ray", "--track")
    assert code == 3, err
    killer.join(timeout=1)
    assert not killer.is_alive(), "nobody was killed"
    run("infer", model, folder, "-o", tmp_path / "there", "--track", "--resume", "--on", "ray")
    assert tree(tmp_path / "there") == tree(tmp_path / "here")


def kill_whoever_reads(name: str, out: Path, stop: threading.Event, killed: list[int]) -> None:
    """Kills every process that begins to write the results of this video."""
    while not stop.is_set():
        for path in found(out, ".posert-*/whole.jsonl"):
            process = int(path.parent.name.split("-")[1])
            with suppress(OSError):  # it is whole meanwhile
                if name in path.read_text() and process not in killed:
                    killed.append(process)
                    os.kill(process, 9)
        time.sleep(0.002)


def test_a_video_whose_actor_always_dies_fails_alone(
    run: Run, model: Path, folder: Path, tmp_path: Path, on_cluster: None
) -> None:
    """Ray's own default tried it again for ever."""
    media.video(folder / "deadly.mp4", count=3000)
    stop, killed = threading.Event(), list[int]()
    arguments = ("deadly.mp4", tmp_path / "out", stop, killed)
    killer = threading.Thread(target=kill_whoever_reads, args=arguments, daemon=True)
    killer.start()
    code, _, err = run("infer", model, folder, "-o", tmp_path / "out", "--on", "ray")
    stop.set()
    killer.join()
    assert code == 3
    assert len(killed) == 3, err
    assert "deadly.mp4: its worker on the cluster died, 3 times" in err
    status = {row["output"]: row["status"] for row in rows(tmp_path / "out")}
    assert status.pop("deadly.mp4.jsonl") == status.pop("broken.mp4.jsonl") == "failed"
    assert list(status.values()) == ["done"] * 5


def test_relative_sources_inside_a_ray_program(
    run: Run, model: Path, folder: Path, tmp_path: Path, on_cluster: None, cluster: str, monkeypatch
) -> None:
    """Who had begun Ray himself got actors in another folder."""
    environment = {"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"]}}
    with ray.init(address=cluster, runtime_env=environment, log_to_driver=False):
        monkeypatch.chdir(folder)
        code, _, err = run("infer", model, "deep", "-o", tmp_path / "out", "--on", "ray")
        assert code == 0, err
    assert len(list((tmp_path / "out").glob("*.jsonl"))) == 6


def test_an_actor_has_one_gpu_whatever_its_number_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    class Dataset:
        def map(self, _: object, **options: Any) -> "Dataset":
            given.append(options)
            return self

        def iter_rows(self) -> list[object]:
            return []

    monkeypatch.setattr(ray.data, "from_items", lambda *_, **__: Dataset())
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"GPU": 2})
    recipe = Recipe("nano", options=ModelOptions(device="cuda:1"))
    list(on_ray(recipe, [Job("a.mp4", Path("a.jsonl"), None)] * 3, "ray"))
    assert given[0]["num_gpus"] == 1
    assert given[0]["fn_constructor_args"][0].options.device == "cuda"


def test_a_model_that_no_actor_can_open(run: Run, folder: Path, tmp_path: Path, on_cluster: None) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"no network")
    code, _, err = run("infer", damaged, folder, "-o", tmp_path / "out", "--on", "ray")
    assert code == 1
    assert "cannot be opened as an ONNX model" in err


def test_no_cluster(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    code, _, err = run("infer", model, folder, "-o", tmp_path / "out", "--on", "spark")
    assert code == 1
    assert "no cluster" in err
