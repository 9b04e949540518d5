"""A resumed run over files of a store asks for listings, of many files in a request, not for each file."""

from pathlib import Path

import clips as stubs
import pytest
import tiny
from command import Run
from stores import BUCKET, Faults, fill, write

from posert.runtime.jobs.ledger import Ledger
from posert.runtime.jobs.planning import plan
from posert.runtime.jobs.recipe import Recipe
from posert.runtime.store import lookup, remote
from posert.runtime.store.lookup import looked_up
from posert.runtime.store.remote import Facts

COUNT = 120


@pytest.fixture
def many(faults: Faults, server: tuple[str, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Files of a few bytes in many folders, of which a listing gives fifty at once."""
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "50")
    names = [f"{number:03}/clip {number}?.mp4" for number in range(COUNT)]
    folder = f"{BUCKET}/{tmp_path.name}/"
    fill(folder, server, {name: name.encode() for name in names})
    return [folder + name for name in names]


def asked_in(faults: Faults, what: object) -> list[str]:
    """The requests that a call makes."""
    before = len(faults.asked)
    assert callable(what)
    what()
    return faults.asked[before:]


def test_many_are_listed_and_few_are_asked_for(faults: Faults, many: list[str]) -> None:
    gone = many[0].replace("clip", "gone")
    found: dict[str, Facts] = {}
    asked = asked_in(faults, lambda: found.update(looked_up([*many, gone, "local.mp4"])))
    assert found == {address: remote.facts(address) for address in many}
    assert len(asked) == 3 + 2  # three pages, and twice for what is not there, a file or a folder
    few = many[:3]
    asked = asked_in(faults, lambda: looked_up(few))
    assert len(asked) == len(few)


def test_a_listing_that_takes_too_long_is_given_up(
    faults: Faults, many: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among many other files the few thousand of a list are found sooner one by one."""
    monkeypatch.setattr(lookup, "_LEAST_S", 0.2)
    monkeypatch.setattr(lookup, "_ASK_S", 0.0)
    faults.add("list-type=2", "stalled")
    assert looked_up(many) == {address: remote.facts(address) for address in many}


def test_a_dataset_is_resumed_by_listings(faults: Faults, many: list[str], tmp_path: Path) -> None:
    recipe = Recipe(str(tiny.bright_spot(tmp_path / "model.onnx")))
    (tmp_path / "list.csv").write_text("path\n" + "\n".join(many) + "\n")

    def go() -> list[str]:
        jobs = plan([f"@{tmp_path / 'list.csv'}"], tmp_path, None, "parquet", dataset=True)
        ledger = Ledger(tmp_path / "out", recipe)
        todo = ledger.begin(jobs, resume=True)
        for job in todo:
            ledger.add(stubs.done(job))
        ledger.end(jobs)
        return [job.source for job in todo]

    assert go() == many
    resumed: list[str] = []
    assert len(asked_in(faults, lambda: resumed.extend(go()))) == 3
    assert resumed == []
    remote.put(write(tmp_path / "file", "another"), many[7])
    assert len(asked_in(faults, lambda: resumed.extend(go()))) < 10
    assert resumed == [many[7]]


def test_files_of_their_own_are_resumed_by_listings(
    faults: Faults, run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "_FEW", 2)
    command = ("infer", model, f"{BUCKET}/clips/", "-o", tmp_path / "out", "--resume")
    assert run(*command)[0] == 0
    said: list[str] = []
    asked = asked_in(faults, lambda: said.append(run(*command)[2]))
    assert "3 sources were finished before" in said[0]
    assert [request.split("?")[0] for request in asked] == ["GET /our-set"] * 2  # one to plan, one to resume
