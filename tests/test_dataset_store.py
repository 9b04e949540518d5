"""One dataset of many clips in a store: written there in parts, read from there, gone on with without fetching it."""

import json
import os
from pathlib import Path
from typing import Any

import clips as stubs
import media
import pytest
from command import Run
from stores import BUCKET, Faults, fetched, write

from posert.runtime.store import remote

pytest.importorskip("pyarrow")
FORM = ("--format", "parquet", "--partition")
NAMES = ["clip", "frame", "person", "score", "nose_x"]


@pytest.fixture
def out(tmp_path: Path) -> str:
    return f"{BUCKET}/{tmp_path.name}/"


def gets(faults: Faults, since: int) -> list[str]:
    """The files of the dataset that were fetched since then."""
    asked = (request.removeprefix("GET ") for request in faults.asked[since:] if request.startswith("GET"))
    return [address.rpartition("/")[2] for address in asked if "/dataset/part" in address]


def rows(out: str, folder: Path) -> list[tuple[Any, ...]]:
    """The dataset's rows, from a copy of the whole output here."""
    fetched(out, folder)
    return stubs.table(folder)


def test_it_is_that_of_a_folder(faults: Faults, run: Run, model: Path, clips: Path, tmp_path: Path, out: str) -> None:
    assert run("infer", model, clips, "-o", out, *FORM, 2)[0] == 0
    assert run("infer", model, clips, "-o", tmp_path / "plain", *FORM, 2)[0] == 0
    assert rows(out, tmp_path / "far") == stubs.table(tmp_path / "plain") != []
    assert len(stubs.parts(tmp_path / "far")) == 2
    assert {path.name.partition("-")[0] for path in (tmp_path / "far" / "manifest").iterdir()} == {"rows", "run"}
    before, since = remote.listing(out), len(faults.asked)
    assert run("jobs", "status", out)[1].startswith("3 of 3 done, 0 failed (100.0 %); 12 frames")
    assert json.loads(run("jobs", "status", out, "--json")[1])["running"] is None
    assert f"there is no manifest in {out}none" in run("jobs", "status", f"{out}none")[2]
    _, _, err = run("infer", model, clips, "-o", out, *FORM, 2, "--resume")
    assert "3 sources were finished before" in err
    assert gets(faults, since) == []
    assert remote.listing(out).keys() == before.keys()


def test_what_comes_later_needs_the_last_file_alone(
    faults: Faults, run: Run, model: Path, clips: Path, tmp_path: Path, out: str
) -> None:
    media.video(clips / "d.mp4", count=2)
    (clips / "d.mp4").rename(tmp_path / "d.mp4")
    run("infer", model, clips, "-o", out, *FORM, 2)
    parts = [name.rpartition("/")[2] for name in remote.listing(f"{out}dataset/")]
    (tmp_path / "d.mp4").rename(clips / "d.mp4")
    since = len(faults.asked)
    assert run("infer", model, clips, "-o", out, *FORM, 2, "--resume")[0] == 0
    assert gets(faults, since) == parts[-1:]
    assert {row[0] for row in rows(out, tmp_path / "far")} == {"b.mp4", "c.mp4", "d.mp4", "deep/a.mp4"}
    assert parts[0] in stubs.parts(tmp_path / "far")
    media.video(clips / "b.mp4", count=1)  # in the first file, whose other rows stay
    since = len(faults.asked)
    assert run("infer", model, clips, "-o", out, *FORM, 2, "--resume")[0] == 0
    assert parts[0] in gets(faults, since)
    assert [row[:2] for row in rows(out, tmp_path / "again") if row[0] == "b.mp4"] == [("b.mp4", 0)]


def test_a_run_that_dies_before_its_manifest_is_there(
    faults: Faults, run: Run, model: Path, clips: Path, tmp_path: Path, out: str
) -> None:
    """The dataset's file is put, what tells of it is not: it is posert's, so it goes, and each clip is there once."""
    faults.add("PUT .*/manifest/rows", "403", times=1)
    code, _, err = run("infer", model, clips, "-o", out, *FORM, 1)
    assert (code, "cannot be written" in err) == (1, True)
    assert len(remote.listing(f"{out}dataset/")) == 1
    assert run("infer", model, clips, "-o", out, *FORM, 1, "--resume")[0] == 0
    assert len(rows(out, tmp_path / "far")) == 5 + 4 + 3
    write(tmp_path / "mine", "mine")
    remote.put(tmp_path / "mine", f"{out}dataset/mine.parquet")
    code, _, err = run("infer", model, clips, "-o", out, *FORM, 1, "--resume")
    assert (code, f"{out}dataset/mine.parquet is no part of posert's" in err) == (1, True)


def test_sources_that_are_called_as_a_dataset_is(faults: Faults, run: Run, model: Path, clips: Path, out: str) -> None:
    """Results in a folder `dataset` are those of sources; once they were removed again when the run ended."""
    (clips / "deep").rename(clips / "dataset")
    (clips / "b.mp4").rename(clips / "manifest_2.mp4")
    assert run("infer", model, clips, "-o", out)[0] == 0
    _, _, err = run("infer", model, clips, "-o", out, "--resume")
    assert "3 sources were finished before" in err
    names = [name.removeprefix(out) for name in remote.listing(out)]
    assert names == ["c.mp4.jsonl", "dataset/a.mp4.jsonl", "manifest.jsonl", "manifest_2.mp4.jsonl"]


def _pandas(out: str, _: str) -> list[tuple[Any, ...]]:
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(f"{out}dataset", columns=NAMES, storage_options={"skip_instance_cache": True})
    return list(table.itertuples(index=False, name=None))


def _pyarrow(out: str, _: str) -> list[tuple[Any, ...]]:
    import pyarrow.parquet as parquet
    import s3fs

    path = out.removeprefix("s3://") + "dataset"
    table = parquet.read_table(
        path, columns=NAMES, filesystem=s3fs.S3FileSystem(skip_instance_cache=True), filters=[("clip", "!=", "none")]
    )
    return list(zip(*table.to_pydict().values(), strict=True))


def _polars(out: str, server: str) -> list[tuple[Any, ...]]:
    polars = pytest.importorskip("polars")
    told = {"aws_endpoint_url": server, "aws_allow_http": "true"}
    rows: list[tuple[Any, ...]] = (
        polars.scan_parquet(f"{out}dataset/*.parquet", storage_options=told).select(NAMES).collect().rows()
    )
    return rows


def _duckdb(out: str, _: str) -> list[tuple[Any, ...]]:
    duckdb, fsspec = pytest.importorskip("duckdb"), pytest.importorskip("fsspec")
    with duckdb.connect() as link:
        link.register_filesystem(fsspec.filesystem("s3", skip_instance_cache=True))
        rows: list[tuple[Any, ...]] = link.sql(f"select {', '.join(NAMES)} from '{out}dataset/*.parquet'").fetchall()
        return rows


def test_it_is_read_where_it_lies(faults: Faults, run: Run, model: Path, clips: Path, tmp_path: Path, out: str) -> None:
    assert run("infer", model, clips, "-o", out, *FORM, 2)[0] == 0
    whole = rows(out, tmp_path / "far")
    for read in (_pandas, _pyarrow, _polars, _duckdb):
        assert sorted(read(out, os.environ["AWS_ENDPOINT_URL"])) == whole, read.__name__
