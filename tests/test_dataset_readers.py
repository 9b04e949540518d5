"""A dataset in parts is read at once, as its folder, by those who train: pandas, polars, duckdb, Ray Data, Spark."""

from pathlib import Path
from typing import Any

import clips
import pytest
import tiny

from posert.runtime.jobs.ledger import Ledger
from posert.runtime.jobs.recipe import Recipe

pytest.importorskip("pyarrow")
NAMES = ["clip", "label", "frame", "person", "id", "nose_x"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of six clips in three files; the third clip is in none."""
    place = tmp_path_factory.mktemp("many")
    ids = [f"c{number}" for number in range(6)]
    jobs = clips.jobs_of(clips.listed(place / "l.parquet", ids, label=["x", None] * 3), place)
    ledger = Ledger(place / "out", Recipe(str(tiny.bright_spot(place / "model.onnx"))), parts=3)
    for job in ledger.begin(jobs, resume=False):
        ledger.add(clips.failed(job) if job.rows == "c2" else clips.done(job))
    ledger.end(jobs)
    assert len(clips.parts(place / "out")) == 3
    return place / "out" / "dataset"


def check(rows: list[tuple[Any, ...]]) -> None:
    """Three rows a clip, without ids; whatever stands for nothing is None here."""
    known = [
        (None if value != value else value)
        for row in sorted(rows, key=lambda row: (row[0], *row[2:4]))
        for value in row
    ]
    expected = [
        value
        for number in (0, 1, 3, 4, 5)
        for frame, person in ((1, 0), (2, 0), (2, 1))
        for value in (f"c{number}", None if number % 2 else "x", frame, person, None, 100.0 + 50 * person)
    ]
    assert known == expected


def test_pandas(folder: Path) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(folder)[NAMES]
    check(list(table.astype(object).where(table.notna(), None).itertuples(index=False, name=None)))


def test_polars(folder: Path) -> None:
    polars = pytest.importorskip("polars")
    check(polars.scan_parquet(folder).select(NAMES).collect().rows())


def test_duckdb(folder: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    check(duckdb.sql(f"select {', '.join(NAMES)} from '{folder}/*.parquet'").fetchall())


def test_ray_data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)  # not another one that is running here
    try:
        rows = ray.data.read_parquet(str(folder)).select_columns(NAMES).take_all()
    finally:
        ray.shutdown()
    check([tuple(row[name] for name in NAMES) for row in rows])


def test_spark(folder: Path) -> None:
    """Seen with PySpark 4.3.0 and Java 17; `make test-readers` does without, for it has 490 MB."""
    sql = pytest.importorskip("pyspark.sql", reason="needs pyspark, which no environment of ours has: 490 MB")
    session = sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        table = session.read.parquet(str(folder)).select(NAMES)
        rows, kinds = table.collect(), dict(table.dtypes)
    finally:
        session.stop()
    check([tuple(row) for row in rows])
    assert [kinds[name] for name in ("clip", "frame", "nose_x")] == ["string", "bigint", "float"]
