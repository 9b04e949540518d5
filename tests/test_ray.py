"""The same job on a real local Ray cluster of two nodes on loopback."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import media
import pytest
import test_cli
from test_folders import tree

Run = test_cli.Run
run, model = test_cli.run, test_cli.model  # fixtures
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
        for path in out.rglob(".*.jsonl"):
            os.kill(int(path.name.split(".")[-2]), 9)
            return
        time.sleep(0.005)


def test_the_cluster_writes_what_this_machine_writes(
    run: Run, model: Path, folder: Path, tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One actor is killed in the middle of a video: nothing is lost, nothing is there twice."""
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    monkeypatch.setenv("PYTHONPATH", str(test_cli.ROOT / ".typing"))
    assert run("infer", model, folder, "-o", tmp_path / "here", "--workers", 1, "--track")[0] == 3
    killer = threading.Thread(target=kill_an_actor_at_work, args=(tmp_path / "there",), daemon=True)
    killer.start()
    code, _, err = run("infer", model, folder, "-o", tmp_path / "there", "--on", "ray", "--track")
    assert code == 3, err
    killer.join(timeout=1)
    assert not killer.is_alive(), "nobody was killed"
    run("infer", model, folder, "-o", tmp_path / "there", "--track", "--resume", "--on", "ray")
    assert tree(tmp_path / "there") == tree(tmp_path / "here")


def test_no_cluster(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    code, _, err = run("infer", model, folder, "-o", tmp_path / "out", "--on", "spark")
    assert code == 1
    assert "no cluster" in err
