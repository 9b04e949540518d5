"""Sources and results at addresses: a local S3 server behind a proxy that fails, a web server, stand-ins for others."""

import functools
import http.server
import json
import logging
import os
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command import Run, rows, tree
from stores import BUCKET, KEY, Faults, fetched, fill, write

from posert import PosertError
from posert.runtime.files.locks import release, take
from posert.runtime.jobs.planning import plan
from posert.runtime.media.read import frames
from posert.runtime.store import remote, scratch
from posert.runtime.store.scratch import fetched_ahead, held


@pytest.mark.parametrize(
    ("what", "sources", "names"),
    [
        ("/clips/", ["b.mp4", "c.mp4", "deep/a.mp4"], ["new/b.mp4.jsonl", "new/c.mp4.jsonl", "new/deep/a.mp4.jsonl"]),
        ("/clips/deep/", ["deep/a.mp4"], ["new/a.mp4.jsonl"]),
        ("/clips/*.mp4", ["b.mp4", "c.mp4"], ["new/b.mp4.jsonl", "new/c.mp4.jsonl"]),
        ("/clips/**/[ac].mp4", ["c.mp4", "deep/a.mp4"], ["new/c.mp4.jsonl", "new/deep/a.mp4.jsonl"]),
        ("/clips/[bx].mp4", ["b.mp4"], ["new"]),  # one file, as of a pattern here
        ("/clips/b.mp4", ["b.mp4"], ["new"]),
    ],
)
def test_folders_and_patterns(faults: Faults, what: str, sources: list[str], names: list[str]) -> None:
    jobs = plan([BUCKET + what], Path("new"), None, "jsonl")
    assert [job.source.rpartition("/clips/")[2] for job in jobs] == sources
    assert [str(job.output) for job in jobs] == names


ODD = ["a#1.mp4", "a%20b.mp4", "a[1].mp4", "double//b.mp4", "for all?.mp4", "ä ö+&.mp4"]


def test_odd_names(faults: Faults, server: tuple[str, int], clips: Path, run: Run, model: Path, tmp_path: Path) -> None:
    """`?` ends an address of the web, not a file's name in a store; what is called like a folder is one."""
    folder = f"{BUCKET}/{tmp_path.name}"
    for name in ODD:
        remote.put(clips / "c.mp4", f"{folder}/{name}")
    remote.put(clips / "c.mp4", f"{folder}-2/other.mp4")
    fill(f"{folder}/", server, {"folder.mp4/": b""})
    jobs = plan([f"{folder}/"], tmp_path, None, "jsonl")
    assert [job.source for job in jobs] == [f"{folder}/{name}" for name in ODD]
    assert [str(job.output.relative_to(tmp_path)) for job in jobs] == [
        f"{name}.jsonl".replace("//", "/") for name in ODD
    ]
    assert [job.source for job in plan([f"{folder}/a[1].mp4"], tmp_path, None, "jsonl")] == [f"{folder}/a[1].mp4"]
    assert run("infer", model, f"{folder}/", "-o", f"{folder}-out/")[0] == 0
    assert sorted(fetched(f"{folder}-out/", tmp_path / "far")) == sorted(
        ["manifest.jsonl", *(f"{name}.jsonl".replace("//", "/") for name in ODD)]
    )
    _, _, err = run("infer", model, f"{folder}/", "-o", f"{folder}-out/", "--resume")
    assert "6 sources were finished before" in err


def test_names_that_lead_elsewhere(faults: Faults, clips: Path, tmp_path: Path) -> None:
    remote.put(clips / "c.mp4", f"{BUCKET}/{tmp_path.name}/x/../../../evil.mp4")
    with pytest.raises(PosertError, match=r"x/\.\./\.\./\.\./evil\.mp4, which leads out of the folder"):
        plan([f"{BUCKET}/{tmp_path.name}/"], tmp_path, None, "jsonl")


def test_results_are_those_of_the_files(faults: Faults, run: Run, model: Path, clips: Path, tmp_path: Path) -> None:
    assert run("infer", model, f"{BUCKET}/clips/", "-o", tmp_path / "out", "--format", "jsonl,csv")[0] == 0
    run("infer", model, clips, "-o", tmp_path / "plain", "--format", "jsonl,csv")
    for name in ("b.mp4", "deep/a.mp4"):
        far, near = ((tmp_path / out / f"{name}.jsonl").read_text().splitlines() for out in ("out", "plain"))
        assert far[1:] == near[1:]
        assert json.loads(far[0])["source"] == f"{BUCKET}/clips/{name}"
    row = rows(tmp_path / "out")[0]
    assert (row["source"], row["bytes"]) == (f"{BUCKET}/clips/b.mp4", (clips / "b.mp4").stat().st_size)
    assert len(row["etag"]) == 32
    _, _, err = run("infer", model, f"{BUCKET}/clips/", "-o", tmp_path / "out", "--format", "jsonl,csv", "--resume")
    assert "3 sources were finished before" in err


def test_workers_read_what_was_fetched(faults: Faults, run: Run, model: Path, clips: Path, tmp_path: Path) -> None:
    assert run("infer", model, f"{BUCKET}/clips/", "-o", tmp_path / "out", "--workers", 2)[0] == 0
    assert run("infer", model, clips, "-o", tmp_path / "plain")[0] == 0
    for path in (tmp_path / "plain").rglob("*.mp4.jsonl"):
        far = tmp_path / "out" / path.relative_to(tmp_path / "plain")
        assert far.read_text().splitlines()[1:] == path.read_text().splitlines()[1:]
    fetched = [request for request in faults.asked if request.startswith("GET") and ".mp4" in request]
    assert len(fetched) == len(set(fetched)) == 3


@pytest.mark.parametrize("kind", ["500", "cut", "short", "slow"])
def test_a_fault_is_tried_again(faults: Faults, clips: Path, kind: str) -> None:
    faults.add("GET /our-set/clips/deep/a.mp4", kind, times=1 if kind == "slow" else 2)
    with held(f"{BUCKET}/clips/deep/a.mp4") as place:
        assert Path(place).read_bytes() == (clips / "deep" / "a.mp4").read_bytes()
    assert not faults.waiting


def test_a_body_that_stalls_is_given_up(faults: Faults, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "BLOCK_S", 1.0)
    faults.add("GET /our-set/clips/b.mp4", "stalled")
    with held(f"{BUCKET}/clips/b.mp4") as place:
        assert Path(place).read_bytes() == (clips / "b.mp4").read_bytes()
    assert not faults.waiting


def test_a_body_that_is_always_cut_is_no_clip(
    faults: Faults, run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults.add("GET /our-set/clips/b.mp4", "short", times=1000)
    code, _, err = run("infer", model, f"{BUCKET}/clips/", "-o", tmp_path / "out")
    assert code == 3
    assert f"{BUCKET}/clips/b.mp4 cannot be fetched" in err
    assert [row["status"] for row in rows(tmp_path / "out")] == ["failed", "done", "done"]
    assert not (tmp_path / "out" / "b.mp4.jsonl").exists()


def test_large_files_come_in_blocks_and_must_not_change_meanwhile(
    faults: Faults, clips: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(remote, "BLOCK", 1000)
    faults.add("GET /our-set/clips/b.mp4", "cut")
    remote.read(f"{BUCKET}/clips/b.mp4", tmp_path / "b.mp4")
    assert (tmp_path / "b.mp4").read_bytes() == (clips / "b.mp4").read_bytes()
    size = (clips / "b.mp4").stat().st_size
    given = iter([remote.Facts(size, "one"), remote.Facts(size, "two")])
    monkeypatch.setattr(remote, "facts", lambda _: next(given))
    with pytest.raises(PosertError, match="was changed while it was fetched"):
        remote.read(f"{BUCKET}/clips/b.mp4", tmp_path / "b.mp4")


def test_a_listing_that_expires_is_begun_again(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")
    faults.add("continuation-token", "expired")
    found = remote.listing(f"{BUCKET}/clips/")
    assert [name.removeprefix(BUCKET) for name in found] == [
        "/clips/b.mp4", "/clips/c.mp4", "/clips/deep/a.mp4", "/clips/notes.txt"
    ]  # fmt: skip
    assert not faults.waiting


def test_what_is_not_there(faults: Faults, run: Run, model: Path, tmp_path: Path) -> None:
    code, _, err = run("infer", model, f"{BUCKET}/clips/gone.mp4", "-o", tmp_path / "gone.jsonl")
    assert (code, "does not exist" in err) == (1, True)
    for nothing in (f"{BUCKET}/elsewhere/", f"{BUCKET}/clips/*.avi", "s3://no-such-set/"):
        with pytest.raises(PosertError, match="no image or video"):
            plan([nothing], tmp_path, None, "jsonl")
    before = len(faults.asked)
    faults.add("GET /our-set", "403", times=100)
    with pytest.raises(PosertError, match="s3://our-set/clips/ cannot be listed"):
        plan([f"{BUCKET}/clips/"], tmp_path, None, "jsonl")
    assert len(faults.asked) - before < 4  # a refusal is not asked again


def test_no_more_is_here_than_there_is_room_for(
    faults: Faults, clips: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(scratch, "_room", lambda _: (clips / "b.mp4").stat().st_size + 10)
    names = [f"{BUCKET}/clips/{name}" for name in ("b.mp4", "c.mp4", "deep/a.mp4")]
    with fetched_ahead(names) as done:
        for name in names:
            with held(name):
                assert len([path for path in (tmp_path / "scratch").rglob("*.mp4")]) == 1
            done(name)


def test_who_ends_first_leaves_the_folder_to_who_begins(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    first, ask = held(f"{BUCKET}/clips/b.mp4"), scratch.read

    def read(source: str, *rest: object) -> object:
        if source.endswith("c.mp4"):
            first.__exit__(None, None, None)
        return ask(source, *rest)

    monkeypatch.setattr(scratch, "read", read)
    first.__enter__()
    with held(f"{BUCKET}/clips/c.mp4") as place:
        assert Path(place).stat().st_size


def test_what_a_killed_process_left_goes(faults: Faults, tmp_path: Path) -> None:
    """And nothing of one that lives."""
    left, used = (tmp_path / "scratch" / name for name in ("posert-fetched-left", "posert-run-used"))
    for folder in (left, used):
        folder.mkdir()
        (folder / "a.mp4").touch()
    lock = take(used / "lock")
    with held(f"{BUCKET}/clips/b.mp4") as place:
        assert Path(place).exists()
        assert (used / "a.mp4").exists()
        assert not left.exists()
    release(lock)
    (used / "a.mp4").unlink()
    used.rmdir()


def test_a_source_that_comes_again_is_fetched_once(faults: Faults, run: Run, model: Path, tmp_path: Path) -> None:
    row = f"{BUCKET}/clips/deep/a.mp4"
    (tmp_path / "list.csv").write_text(f"path,start,stop,id\n{row},0,0.2,x\n{row},0.2,0.4,y\n{row},0.4,,z\n")
    assert run("infer", model, f"@{tmp_path / 'list.csv'}", "-o", tmp_path / "out")[0] == 0
    assert [row["frames"] for row in rows(tmp_path / "out")] == [2, 2, 1]
    assert len([request for request in faults.asked if request.startswith("GET /our-set/clips/deep/a.mp4")]) == 1


def test_lists_that_lie_in_a_store(faults: Faults, tmp_path: Path) -> None:
    remote.put(write(tmp_path / "l.csv", "path,id\ndeep/a.mp4,x\ns3://other/b.mp4,y\n"), f"{BUCKET}/clips/l.csv")
    remote.put(write(tmp_path / "l.txt", "# all\ndeep/a.mp4\nb.mp4\n"), f"{BUCKET}/clips/l.txt")
    jobs = plan([f"@{BUCKET}/clips/l.csv", f"@{BUCKET}/clips/l.txt"], tmp_path, None, "jsonl")
    assert [job.source for job in jobs] == [
        f"{BUCKET}/clips/deep/a.mp4", "s3://other/b.mp4", f"{BUCKET}/clips/deep/a.mp4", f"{BUCKET}/clips/b.mp4"
    ]  # fmt: skip


def test_no_secret_is_written(
    faults: Faults, run: Run, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    faults.add("GET /our-set/clips/b.mp4", "short")
    _, out, err = run("--debug", "infer", model, f"{BUCKET}/clips/", "-o", tmp_path / "out")
    written = b"".join(tree(tmp_path / "out").values()).decode()
    assert "s3://our-set/clips/b.mp4: OSError" in caplog.text
    for secret in ("hush-hush", KEY, "Signature"):
        assert secret not in out + err + caplog.text + written


@contextmanager
def website(folder: Path) -> Iterator[str]:
    """Python's own web server, which knows neither parts of files nor ETags."""
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_page_that_lists_files_and_a_list_behind_http(
    run: Run, model: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aiohttp", reason="needs fsspec[http] (`make test-readers`)")
    monkeypatch.setenv("POSERT_SCRATCH", str(tmp_path))
    write(clips / "list.txt", "b.mp4?X-Amz-Signature=hush-hush\ndeep/a.mp4\n")
    with website(clips) as site:
        secret = site.replace("//", "//me:pw@")
        jobs = plan([f"{site}/"], tmp_path, None, "jsonl")
        assert [str(job.output.relative_to(tmp_path)) for job in jobs] == [
            "b.mp4.jsonl", "c.mp4.jsonl", "deep/a.mp4.jsonl"
        ]  # fmt: skip
        assert run("infer", model, f"{site}/", "-o", tmp_path / "out")[0] == 0
        code, out, err = run("infer", model, f"@{secret}/list.txt", "-o", tmp_path / "listed")
        assert (code, [row["source"] for row in rows(tmp_path / "listed")]) == (
            0, [f"{site}/b.mp4", f"{site}/deep/a.mp4"]
        )  # fmt: skip
    written = b"".join(tree(tmp_path / "listed").values()).decode()
    assert "me:pw" not in out + err + written
    assert "hush-hush" not in out + err + written
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("posert-")]


def test_no_secret_of_a_single_address_is_written(
    run: Run, model: Path, clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A stream, or a file that FFmpeg reads from there: not fetched, so asked for with what the user gave."""
    caplog.set_level(logging.DEBUG)
    with website(clips) as site:
        names = [f"{site.replace('//', '//me:hush@')}/{name}?X-Amz-Signature=hush" for name in ("b.mp4", "gone.mp4")]
        assert run("infer", model, names[0], "-o", tmp_path / "one.jsonl")[0] == 0
        code, out, err = run("infer", model, *names, "-o", tmp_path / "out")
        assert (code, [row["source"] for row in rows(tmp_path / "out")]) == (3, [f"{site}/b.mp4", f"{site}/gone.mp4"])
        _, _, resumed = run("infer", model, *names, "-o", tmp_path / "out", "--resume")
    assert json.loads((tmp_path / "one.jsonl").read_text().splitlines()[0])["source"] == f"{site}/b.mp4"
    assert f"{site}/gone.mp4 cannot be opened as a video" in err
    written = b"".join(data + str(name).encode() for name, data in tree(tmp_path / "out").items()).decode()
    assert "hush" not in out + err + resumed + written + caplog.text


@pytest.mark.parametrize("scheme", ["gs", "hf", "az", "memory"])
def test_other_stores_by_a_stand_in(scheme: str, clips: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No such store is at hand: fsspec's file system in memory stands for it, under its name."""
    fsspec = pytest.importorskip("fsspec", reason="needs fsspec (`make test-readers`)")
    from fsspec.implementations.memory import MemoryFileSystem

    class StandIn(MemoryFileSystem):
        store: dict = {}  # noqa: RUF012
        pseudo_dirs = [""]  # noqa: RUF012

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return MemoryFileSystem._strip_protocol(path.partition("://")[2] if "://" in path else path)

    monkeypatch.setenv("POSERT_SCRATCH", str(tmp_path))
    remote._system.cache_clear()
    monkeypatch.setattr(fsspec, "filesystem", lambda name, **_: StandIn() if name == scheme else pytest.fail(name))
    StandIn().pipe({f"/set/{path.relative_to(clips)}": path.read_bytes() for path in clips.rglob("*.mp4")})
    jobs = plan([f"{scheme}://set/**/*.mp4"], tmp_path, None, "jsonl")
    assert [job.source for job in jobs] == [f"{scheme}://set/{name}" for name in ("b.mp4", "c.mp4", "deep/a.mp4")]
    found = list(frames(jobs[2].source))
    assert [(frame.index, frame.source) for frame in found] == [(n, f"{scheme}://set/deep/a.mp4") for n in range(5)]
    remote.put(clips / "b.mp4", f"{scheme}://set/new.mp4")
    assert f"{scheme}://set/new.mp4" in remote.listing(f"{scheme}://set/")
    remote._system.cache_clear()


def test_without_the_package_there_is_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec", reason="needs fsspec (`make test-readers`)")
    import fsspec

    def missing(scheme: str, **_: object) -> None:
        raise ImportError(scheme)

    monkeypatch.setattr(fsspec, "filesystem", missing)
    remote._system.cache_clear()
    with pytest.raises(PosertError) as raised:
        remote.listing("gs://set/")
    assert raised.value.hint == "pip install 'posert[gs]'"
    remote._system.cache_clear()


def test_what_posert_scratch_mb_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSERT_SCRATCH_MB", "much")
    with pytest.raises(PosertError, match="POSERT_SCRATCH_MB is 'much'"), fetched_ahead([]):
        pass
    assert "POSERT_SCRATCH_RUN" not in os.environ


def test_the_results_of_one_source_are_files_at_addresses(faults: Faults, run: Run, model: Path, clips: Path) -> None:
    """A drawing called `0`, as its folder here was, has no container."""
    out, sets = f"{BUCKET}/single", f"{BUCKET}/single/sets/list.csv"
    code, _, err = run("infer", model, clips / "b.mp4", "-o", f"{out}/b.jsonl", "--overlay", f"{out}/b.mp4")
    assert (code, sorted(remote.listing(f"{out}/"))) == (0, [f"{out}/b.jsonl", f"{out}/b.mp4"]), err
    remote.put(write(clips.parent / "list.csv", "path\n../b.mp4\n"), sets)
    assert next(job.source for job in plan([f"@{sets}"], clips.parent / "out", None, "jsonl")) == f"{out}/b.mp4"


def test_results_at_an_address(faults: Faults, run: Run, model: Path, clips: Path, tmp_path: Path) -> None:
    out = f"{BUCKET}/{tmp_path.name}/"
    command = ("infer", model, clips, "--format", "jsonl,openpose", "-o")
    assert run(*command, out, "--overlay", f"{out}drawn/")[0] == 0
    assert run(*command, tmp_path / "plain", "--overlay", tmp_path / "plain" / "drawn")[0] == 0
    plain = tree(tmp_path / "plain")
    assert fetched(out, tmp_path / "far").keys() == plain.keys()
    for name, data in fetched(out, tmp_path / "far").items():
        assert name == "manifest.jsonl" or data == plain[name]
    before = remote.listing(out)
    _, _, err = run(*command, out, "--overlay", f"{out}drawn/", "--resume")
    assert "3 sources were finished before" in err
    assert before.keys() == remote.listing(out).keys()
    remote.put(write(tmp_path / "other", "nobody's"), f"{out}b.mp4.jsonl")
    remote.remove(f"{out}c_json/c_000000000001_keypoints.json")
    _, _, err = run(*command, out, "--overlay", f"{out}drawn/", "--resume")
    assert "1 sources were finished before" in err
    assert fetched(out, tmp_path / "again").keys() == plain.keys()


def test_one_file_at_an_address(faults: Faults, run: Run, model: Path, clips: Path, tmp_path: Path) -> None:
    out = f"{BUCKET}/{tmp_path.name}/b.jsonl"
    _, _, err = run("infer", model, clips / "b.mp4", "-o", out)
    run("infer", model, clips / "b.mp4", "-o", tmp_path / "b.jsonl")
    remote.read(out, tmp_path / "far.jsonl")
    assert (tmp_path / "far.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert out in err
    assert [name for name in remote.listing(f"{BUCKET}/{tmp_path.name}/")] == [out]


def test_what_is_at_an_address_is_not_written_over(
    faults: Faults, run: Run, model: Path, clips: Path, tmp_path: Path
) -> None:
    out = f"{BUCKET}/{tmp_path.name}/"
    remote.put(write(tmp_path / "mine", "mine"), f"{out}b.mp4.jsonl")
    code, _, err = run("infer", model, clips, "-o", out)
    assert (code, f"{out}b.mp4.jsonl was not written by posert" in err) == (1, True)
    assert list(remote.listing(out)) == [f"{out}b.mp4.jsonl"]
    assert run("infer", model, clips, "-o", out, "--overwrite")[0] == 0
    assert run("infer", model, clips, "-o", out)[0] == 0  # its own, by the manifest there


def test_a_result_that_cannot_be_put_fails_and_is_done_again(
    faults: Faults, run: Run, model: Path, clips: Path, tmp_path: Path
) -> None:
    out = f"{BUCKET}/{tmp_path.name}/"
    faults.add(r"PUT .*b\.mp4\.jsonl", "500", times=1)
    faults.add(r"PUT .*c\.mp4\.jsonl", "403", times=1)
    code, _, err = run("infer", model, clips, "-o", out)
    assert (code, f"{out}c.mp4.jsonl cannot be written" in err) == (3, True)
    assert sorted(fetched(out, tmp_path / "far")) == ["b.mp4.jsonl", "deep/a.mp4.jsonl", "manifest.jsonl"]
    _, _, err = run("infer", model, clips, "-o", out, "--resume", "--workers", 2)
    assert "2 sources were finished before" in err
    assert "c.mp4.jsonl" in fetched(out, tmp_path / "again")


def test_a_tar_in_a_store_is_fetched_once(faults: Faults, run: Run, model: Path, clips: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "clips.tar", "w") as tar:
        for path in sorted(clips.rglob("*.mp4")):
            tar.add(path, path.relative_to(clips).as_posix())
    remote.put(tmp_path / "clips.tar", f"{BUCKET}/shards/clips.tar")
    before = len(faults.asked)
    assert run("infer", model, f"{BUCKET}/shards/clips.tar", "-o", tmp_path / "out", "--workers", 2)[0] == 0
    assert len([request for request in faults.asked[before:] if request.startswith("GET")]) < 4
    assert [row["source"] for row in rows(tmp_path / "out")] == [
        f"{BUCKET}/shards/clips.tar/{name}" for name in ("b.mp4", "c.mp4", "deep/a.mp4")
    ]  # fmt: skip
    remote.put(tmp_path / "clips.tar", f"{BUCKET}/shards/more/clips.tar")
    jobs = plan([f"{BUCKET}/shards/**/cl*.tar"], tmp_path, None, "jsonl")
    assert [job.output for job in jobs] == [
        tmp_path / folder / "clips.tar" / f"{name}.jsonl"
        for folder in ("", "more") for name in ("b.mp4", "c.mp4", "deep/a.mp4")
    ]  # fmt: skip
    _, _, err = run("infer", model, f"{BUCKET}/shards/clips.tar", "-o", tmp_path / "out", "--resume")
    assert "3 sources were finished before" in err
