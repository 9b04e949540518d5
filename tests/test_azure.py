"""`az://` against Azurite, Microsoft's emulator of its blobs, with adlfs: listing, reading, writing, resuming."""

import json
import logging
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import ROOT, Run, rows, tree
from stores import fetched, proxy

from posert import PosertError
from posert.runtime.jobs.planning import plan
from posert.runtime.store import lookup, remote
from posert.runtime.store.scratch import held

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's, by its documentation."""
PROGRAM = ROOT / ".venv-bridges" / "azurite" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
WHY = "needs adlfs, Node and Azurite (`make test-readers`)"


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    pytest.importorskip("adlfs", reason=WHY)
    program = Path(os.environ.get("POSERT_AZURITE", PROGRAM))
    if not program.is_file() or shutil.which("node") is None:
        pytest.skip(f"{WHY}: {program} is not there")
    options = ["--blobPort", "0", "--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--silent"]
    said = tmp_path_factory.mktemp("azurite") / "said"
    with said.open("wb") as out, subprocess.Popen(["node", program, *options], stdout=out, cwd=said.parent) as server:
        try:
            yield "127.0.0.1", port_in(said, server)
        finally:
            server.kill()


def port_in(said: Path, server: "subprocess.Popen[bytes]") -> int:
    """Where it listens, as soon as it says so."""
    while server.poll() is None:
        if found := re.search(r"listens on http://127\.0\.0\.1:(\d+)", said.read_text()):
            return int(found[1])
        time.sleep(0.05)
    raise AssertionError(said.read_text())


@pytest.fixture
def container(azurite: tuple[str, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clips: Path) -> Iterator[str]:
    """A container with the clips below `clips/`."""
    with proxy(azurite) as (address, _):
        told = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={address}/{ACCOUNT};"
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", told)
        monkeypatch.setenv("POSERT_SCRATCH", str(tmp_path / "scratch"))
        (tmp_path / "scratch").mkdir()
        monkeypatch.setattr(remote, "PAUSES_S", (0.01,) * 4)
        remote._system.cache_clear()
        name = re.sub("[^a-z0-9]", "-", tmp_path.name.lower())[-40:].strip("-")
        remote._system("az").mkdir(name)
        for path in clips.rglob("*.mp4"):
            remote.put(path, f"az://{name}/clips/{path.relative_to(clips).as_posix()}")
        yield name
        remote._system.cache_clear()
    assert not list((tmp_path / "scratch").iterdir())


def test_folders_patterns_and_odd_names(container: str, clips: Path, tmp_path: Path) -> None:
    odd = ["a#1.mp4", "a%20b.mp4", "for all?.mp4", "ä ö+&.mp4"]
    for name in odd:
        remote.put(clips / "c.mp4", f"az://{container}/odd/{name}")
    remote.put(clips / "c.mp4", f"az://{container}/clips-2/other.mp4")

    def sources(what: str) -> list[str]:
        jobs = plan([f"az://{container}/{what}"], tmp_path, None, "jsonl")
        return [job.source.removeprefix(f"az://{container}/") for job in jobs]

    assert sources("clips/") == ["clips/b.mp4", "clips/c.mp4", "clips/deep/a.mp4"]
    assert sources("clips/**/[ac].mp4") == ["clips/c.mp4", "clips/deep/a.mp4"]
    assert sources("odd/") == [f"odd/{name}" for name in odd]
    for name in odd:
        with held(f"az://{container}/odd/{name}") as place:
            assert Path(place).read_bytes() == (clips / "c.mp4").read_bytes()
    with pytest.raises(PosertError, match="no image or video below az://"):
        sources("nothing/")


def test_results_are_those_of_the_files_and_are_resumed(
    container: str, run: Run, model: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "_FEW", 2)
    command = ("infer", model, f"az://{container}/clips/", "-o", f"az://{container}/out/")
    assert run(*command)[0] == 0
    run("infer", model, clips, "-o", tmp_path / "plain")
    plain, far = tree(tmp_path / "plain"), fetched(f"az://{container}/out/", tmp_path / "far")
    assert far.keys() == plain.keys()
    for name in ("b.mp4.jsonl", "deep/a.mp4.jsonl"):
        assert far[name].splitlines()[1:] == plain[name].splitlines()[1:]
        assert json.loads(far[name].splitlines()[0])["source"].startswith(f"az://{container}/clips/")
    assert all(row["etag"] and row["files"][0]["etag"] for row in rows(tmp_path / "far"))
    _, _, err = run(*command, "--resume")
    assert "3 sources were finished before" in err
    assert lookup.looked_up([f"az://{container}/clips/b.mp4", f"az://{container}/clips/c.mp4"]) == {
        f"az://{container}/clips/{name}": remote.facts(f"az://{container}/clips/{name}") for name in ("b.mp4", "c.mp4")
    }
    remote.put(clips / "deep" / "a.mp4", f"az://{container}/clips/b.mp4")
    remote.put(clips / "deep" / "a.mp4", f"az://{container}/out/c.mp4.jsonl")
    _, _, err = run(*command, "--resume", "--overwrite")
    assert "1 sources were finished before" in err


def test_no_secret_is_written(
    container: str, run: Run, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the account's key, which the environment names, nor the signature of an address."""
    caplog.set_level(logging.DEBUG)
    _, out, err = run("--debug", "infer", model, f"az://{container}/clips/", "-o", tmp_path / "out")
    signed = f"az://{container}/clips/b.mp4?sv=2026-01-01&sig=hush%3D"  # it belongs behind https://
    code, more, said = run("infer", model, signed, "-o", tmp_path / "signed")
    assert (code, f"error: no image or video matches az://{container}/clips/b.mp4\n" in said) == (1, True)
    written = b"".join(tree(tmp_path / "out").values()).decode()
    out, err = out + more, err + said
    for secret in (KEY, KEY[:20], "hush", "sig="):
        assert secret not in out + err + caplog.text + written


def test_a_container_that_is_named_with_its_account(container: str, tmp_path: Path) -> None:
    folder = f"abfs://{container}@{ACCOUNT}.dfs.core.windows.net/clips/"
    jobs = plan([folder], tmp_path, None, "jsonl")
    assert [job.source for job in jobs] == [folder + name for name in ("b.mp4", "c.mp4", "deep/a.mp4")]
    assert str(jobs[2].output) == str(tmp_path / "deep" / "a.mp4.jsonl")
    with held(jobs[0].source) as place:
        assert Path(place).stat().st_size
