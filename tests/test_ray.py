"""The same job on a real local Ray cluster of two nodes on loopback."""

import os
import pickle
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import media
import pytest
import tiny_many
from command import ROOT, Run, found, rows, tree
from stores import account, fill, s3_server

from posert.errors import PosertError
from posert.runtime.jobs import spans
from posert.runtime.jobs.job import Job
from posert.runtime.jobs.on_ray import RayOptions, _Actor, _anywhere, _Crew, on_ray
from posert.runtime.jobs.planning import plan
from posert.runtime.jobs.recipe import Recipe, Settings
from posert.runtime.jobs.spans import Unit
from posert.runtime.jobs.todo import Todo
from posert.runtime.jobs.trial import Share
from posert.runtime.options import ModelOptions

ray = pytest.importorskip("ray")


NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """Two nodes with one CPU each, and a server for Ray's client."""
    from ray.cluster_utils import Cluster

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    made = Cluster(initialize_head=True, head_node_args=NODE | {"ray_client_server_port": port})
    made.add_node(**NODE)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="module")
def cluster(nodes: Any) -> str:
    """Their address."""
    return str(nodes.address)


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


def writers(out: Path) -> dict[int, Path]:
    """Processes that write something, and what; this one, which writes the manifest, left out."""
    writing = {int(path.parent.name.split("-")[1]): path for path in found(out, ".posert-*/whole.jsonl")}
    return {process: path for process, path in writing.items() if process != os.getpid()}


def kill_an_actor_at_work(out: Path) -> None:
    """Kills the first process that has begun to write, as the kernel would when memory runs out."""
    while not (working := writers(out)):
        time.sleep(0.005)
    os.kill(next(iter(working)), 9)


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
        for process, path in writers(out).items():
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


class Remote:
    """What Ray makes of a class, and of a method: nothing runs."""

    def __init__(self, _: object) -> None:
        self.do = self.node = self

    def options(self, **asked: Any) -> "Remote":
        self.asked = asked
        return self

    def remote(self, *_: object) -> "Remote":
        return self


def test_an_actor_sees_its_gpu_as_number_0_whatever_that_is_elsewhere() -> None:
    """`--device cuda:1` failed in actors, each of which sees one GPU; half of one may be enough."""
    recipe = _anywhere(Recipe("nano", options=ModelOptions(device="cuda:1")))
    crew = _Crew(SimpleNamespace(remote=Remote), recipe, Share(0.5, 0.25, 2), RayOptions())
    assert (crew.kind.asked["num_cpus"], crew.kind.asked["num_gpus"]) == (0.5, 0.25)
    options = pickle.loads(crew.recipe).options
    assert (options.device, options.threads) == ("cuda", 2)


def test_parts_of_cpus_and_as_many_actors_as_there_is_work_and_room(
    model: Path, folder: Path, tmp_path: Path, on_cluster: None, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two CPUs have room for four actors with half of one; three are enough if that is said, one for one source."""
    counts: list[int] = []
    scale = _Crew.scale

    def counted(crew: _Crew, waiting: int) -> None:
        scale(crew, waiting)
        counts.append(len(crew.hands))

    monkeypatch.setattr(_Crew, "scale", counted)
    jobs = plan([str(folder / "deep")], tmp_path / "out", None, "jsonl")
    outcomes = list(on_ray(Recipe(str(model)), jobs, "ray", options=RayOptions(cpus=0.5)))
    assert [outcome.error for outcome in outcomes] == [None] * len(jobs)
    assert max(counts) == 4
    for part, most, expected in ((jobs, 3, 3), (jobs[:1], 0, 1)):
        counts.clear()
        list(on_ray(Recipe(str(model)), part, "ray", options=RayOptions(cpus=0.5, most=most)))
        assert max(counts) == expected


def kill_at_random(out: Path, kills: int, killed: list[int]) -> None:
    """Kills so many processes at work, with some results between."""
    chance = random.Random(0)
    while len(killed) < kills:
        done = len(list(out.glob("*.jsonl")))
        working = writers(out).keys() - set(killed)
        if working and done >= 8 * len(killed):
            killed.append(chance.choice(sorted(working)))
            os.kill(killed[-1], 9)
        time.sleep(0.002)


def test_clips_of_a_list_while_workers_are_killed(run: Run, model: Path, tmp_path: Path, on_cluster: None) -> None:
    """A small share of tests/bench/cluster.py: overlapping clips, two kills, the same results as without."""
    video = media.video(tmp_path / "a.mp4", count=60)
    table = ["path,start,stop,id", *(f"{video},{n / 10},{(n + 10) / 10},clip{n:02}" for n in range(40))]
    (tmp_path / "clips.csv").write_text("\n".join(table))
    killed: list[int] = []
    killer = threading.Thread(target=kill_at_random, args=(tmp_path / "there", 2, killed), daemon=True)
    killer.start()
    assert run("infer", model, f"@{tmp_path / 'clips.csv'}", "-o", tmp_path / "here")[0] == 0
    code, _, err = run("infer", model, f"@{tmp_path / 'clips.csv'}", "-o", tmp_path / "there", "--on", "ray")
    killer.join(timeout=1)
    assert code == 0, err
    assert len(killed) == 2
    assert tree(tmp_path / "there") == tree(tmp_path / "here")


def test_a_slow_clip_holds_up_one_other_at_most(run: Run, model: Path, tmp_path: Path, on_cluster: None) -> None:
    """The one that waits at the same actor; all others end before it."""
    slow, quick = media.video(tmp_path / "slow.mp4", count=4000), media.video(tmp_path / "quick.mp4", count=30)
    table = ["path,start,stop,id", f"{slow},0,400,slow", *(f"{quick},{n / 10},{n / 10 + 0.3},{n}" for n in range(20))]
    (tmp_path / "clips.csv").write_text("\n".join(table))
    options = ("--on", "ray", "--workers", 2)
    code, _, err = run("infer", model, f"@{tmp_path / 'clips.csv'}", "-o", tmp_path / "out", *options)
    assert code == 0, err
    ended = sorted(found(tmp_path / "out", "*[!t].jsonl"), key=lambda path: path.stat().st_mtime_ns)  # not the manifest
    names = [path.stem for path in ended]
    assert len(names) == 21
    assert len(names) - names.index("slow") <= 2


def test_clips_in_a_store(
    run: Run, model: Path, folder: Path, tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each actor has the clip it is at, and no other; what a killed one leaves is removed by the next."""
    scratch = tmp_path / "scratch"
    account(monkeypatch)
    with s3_server() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server))
        fill("s3://our-set/clips/", server, {path.name: path for path in (folder / "deep").iterdir()})
        known = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        known |= {"PYTHONPATH": str(ROOT / ".typing"), "POSERT_SCRATCH": str(scratch)}
        killer = threading.Thread(target=kill_an_actor_at_work, args=(tmp_path / "there",), daemon=True)
        killer.start()
        with ray.init(address=cluster, runtime_env={"env_vars": known}, log_to_driver=False):
            code, _, err = run("infer", model, "s3://our-set/clips/", "-o", tmp_path / "there", "--on", "ray")
    killer.join(timeout=1)
    assert code == 0, err
    assert not killer.is_alive(), "nobody was killed"
    assert run("infer", model, folder / "deep", "-o", tmp_path / "here")[0] == 0
    for path in (tmp_path / "here").glob("*.mp4.jsonl"):
        assert (tmp_path / "there" / path.name).read_text().splitlines()[1:] == path.read_text().splitlines()[1:]
    assert not list(scratch.iterdir())


def test_a_long_video_is_shared_out(
    run: Run, tmp_path: Path, on_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two actors find its people, one of them is killed meanwhile, and ids are as in one pass; a dataset too."""
    monkeypatch.setattr(spans, "LEAST", 26)
    model, video = tiny_many.rows(tmp_path / "many.onnx"), media.video(tmp_path / "long.mp4", count=400)
    taken: list[Unit] = []
    hand_out = _Crew.hand_out

    def noted(crew: _Crew, todo: Todo) -> None:
        hand_out(crew, todo)
        taken.extend(unit for hand in crew.hands for _, unit in hand.has if not any(unit is one for one in taken))
        if len(taken) > 3 and len(crew.died) == 0 and (busy := [hand for hand in crew.hands if hand.has]):
            ray.kill(busy[0].actor)

    monkeypatch.setattr(_Crew, "hand_out", noted)
    assert run("infer", model, video, "-o", tmp_path / "here.jsonl", "--track")[0] == 0
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "other").touch()  # so that it is a folder with a manifest
    code, _, err = run("infer", model, video, "-o", tmp_path / "there", "--track", "--on", "ray", "--workers", 2)
    assert code == 0, err
    assert len({unit.number for unit in taken}) == len(taken) > 3
    assert (tmp_path / "there" / "long.mp4.jsonl").read_bytes() == (tmp_path / "here.jsonl").read_bytes()
    monkeypatch.setattr(_Crew, "hand_out", hand_out)
    options = ("--format", "parquet", "--partition", 1, "--track")
    for name, more in (("one", ()), ("two", ("--on", "ray", "--workers", 2))):
        assert run("infer", model, video, "-o", tmp_path / name, *options, *more)[0] == 0
    assert rows_of(tmp_path / "two") == rows_of(tmp_path / "one") != []


def rows_of(out: Path) -> list[dict[str, Any]]:
    """A dataset's rows in the order of clip, frame and person."""
    parquet = pytest.importorskip("pyarrow.parquet")
    order = [(name, "ascending") for name in ("clip", "frame", "person")]
    return parquet.read_table(out / "dataset").sort_by(order).to_pylist()


def test_a_machine_that_is_taken_away(
    run: Run,
    model: Path,
    folder: Path,
    tmp_path: Path,
    on_cluster: None,
    nodes: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What its actors had is done elsewhere, each clip is in the dataset once, and no clip is blamed.

    It had two CPUs, so that it was asked before how an actor makes most of them. Its actors never end what they have,
    and nobody gets work before they do.
    """
    options = ("--format", "parquet", "--partition", 2)
    assert run("infer", model, folder / "deep", "-o", tmp_path / "here", *options)[0] == 0
    doomed, crews = nodes.add_node(**NODE | {"num_cpus": 2}), list[_Crew]()
    there, hand_out, do = doomed.node_id, _Crew.hand_out, _Actor.do

    class Held(_Actor):
        def do(self, unit: bytes) -> bytes:
            if self.node() == there:
                time.sleep(600)
            return do(self, unit)

    def struck(crew: _Crew, todo: Todo) -> None:
        if not crews and not any(hand.node == there for hand in crew.hands):
            return
        hand_out(crew, todo)
        if not crews:
            crews.append(crew)
            nodes.remove_node(doomed, allow_graceful=False)

    monkeypatch.setattr("posert.runtime.jobs.on_ray._Actor", Held)
    monkeypatch.setattr(_Crew, "hand_out", struck)
    code, _, err = run("--debug", "infer", model, folder / "deep", "-o", tmp_path / "there", "--on", "ray", *options)
    assert code == 0, err
    assert crews[0].taken
    assert not crews[0].died
    assert "an actor has 1 CPUs, 1 threads, 0 GPUs" in caplog.text
    assert rows_of(tmp_path / "there") == rows_of(tmp_path / "here") != []


def test_through_rays_client(run: Run, model: Path, folder: Path, tmp_path: Path, on_cluster: None, nodes: Any) -> None:
    """The address that people have of a cluster of theirs elsewhere; the actors have the paths, this process asks."""
    address = f"ray://127.0.0.1:{nodes.head_node._ray_params.ray_client_server_port}"
    assert run("infer", model, folder / "deep", "-o", tmp_path / "here")[0] == 0
    code, _, err = run("infer", model, folder / "deep", "-o", tmp_path / "there", "--on", address)
    assert code == 0, err
    assert tree(tmp_path / "there") == tree(tmp_path / "here")


def crew_of(cpus: int) -> _Crew:
    """As many actors as a machine with so many CPUs has room for; nothing runs."""
    machine = {"Alive": True, "NodeID": "here", "Resources": {"CPU": cpus}}
    fake = SimpleNamespace(remote=Remote, nodes=lambda: [machine], kill=lambda _: None, exceptions=ray.exceptions)
    crew = _Crew(fake, Recipe("nano"), Share(), RayOptions())  # type: ignore[arg-type]
    crew.scale(10**6)
    return crew


def test_actors_come_with_machines_and_go_with_work() -> None:
    """A cluster that grows gets more of them; those without work give up their place to others, but for `least`."""
    crew = crew_of(2)
    crew.ray.nodes()[0]["Resources"]["CPU"] = 5
    crew.scale(10**6)
    assert len(crew.hands) == 2  # the first ones have not begun: nobody knows whether there is room
    for hand in crew.hands:
        hand.node = "here"
    crew.scale(2)
    assert len(crew.hands) == 4
    crew.scale(0)
    assert len(crew.hands) == 4
    for hand in crew.hands:
        hand.idle_since -= 6
    crew.hands[0].has = [(None, Job("a.mp4", None, None))]
    kept = crew.hands[0]
    crew.scale(0)
    assert crew.hands == [kept]


@pytest.mark.parametrize(("most_bytes", "expected"), [(2**26, 2), (2**26 + 1, 1)])
def test_units_that_wait_at_an_actor_are_bounded_by_the_bytes_of_results(most_bytes: int, expected: int) -> None:
    """Two actors have a second unit each while the results of all four fit into 256 MB."""
    crew = crew_of(2)
    crew.largest = most_bytes
    for hand in crew.hands:
        hand.node = "here"
    crew.hand_out(Todo([Job(str(n), None, None) for n in range(9)], {}, Settings()))
    assert [len(hand.has) for hand in crew.hands] == [expected] * 2


@pytest.mark.parametrize(
    ("node", "error", "blamed"),
    [
        ("here", ray.exceptions.ActorDiedError(), True),
        ("gone", ray.exceptions.ActorDiedError(), False),
        ("here", ray.exceptions.ActorUnavailableError("Socket closed", None), False),
        ("here", ray.exceptions.ObjectLostError("00", None, ""), False),
    ],
)
def test_a_unit_is_to_blame_if_its_actor_died_alone(node: str, error: Exception, blamed: bool) -> None:
    """The cluster learns seconds later that a machine is gone: until then its actors only do not answer."""
    crew, unit = crew_of(1), Job("a.mp4", None, None)
    crew.hands[0].node, crew.hands[0].has = node, [(None, unit)]
    assert list(crew._lost(crew.hands[0], error)) == []
    assert (crew.died[unit], crew.taken[unit]) == (blamed, not blamed)
    assert crew.left_behind() == [unit]


def test_actors_that_never_begin_end_the_run_but_not_those_of_one_machine() -> None:
    """A large machine that went away while its actors began ended everything."""
    crew = crew_of(64)
    for times in range(1, 6):
        crew.scale(10**6)
        assert len(crew.hands) == 64
        with pytest.raises(PosertError, match="died before they began") if times == 5 else nullcontext():
            for hand in list(crew.hands):
                assert list(crew._lost(hand, ray.exceptions.ActorDiedError())) == []


@pytest.mark.parametrize("wrong", [{"least": 0}, {"least": 3, "most": 2}, {"tries": 0}, {"cpus": -1.0}])
def test_options_that_do_not_go_together(wrong: dict[str, Any]) -> None:
    with pytest.raises(PosertError, match=r"ray\."):
        RayOptions(**wrong)


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
