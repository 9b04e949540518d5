"""What `.ci/run` says at its end: a table of reports made for it."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
REPORTS = {
    "test.1.xml": """<testsuites><testsuite>
        <testcase classname="tests.test_a" name="test_one[x]"><skipped type="pytest.skip" message="needs
            valgrind">a.py:3</skipped></testcase>
        <testcase classname="tests.test_a" name="test_one[y]"><skipped type="pytest.skip" message="needs valgrind"/>
            </testcase>
        <testcase classname="tests.test_a" name="test_two"/>
        <testcase classname="tests.test_a" name="test_bug"><skipped type="pytest.xfail" message="known"/></testcase>
        <testcase classname="" name="tests.test_ray"><skipped message="collection skipped">('/x/tests/test_ray.py', 20,
            "Skipped: could not import 'ray': No module named 'ray'")</skipped></testcase>
        <testcase classname="tests.test_a" name="test_never"><skipped type="pytest.skip" message="no GPU"/></testcase>
        </testsuite></testsuites>""",
    "test-c.7.xml": """<testsuites><testsuite>
        <testcase classname="tests.test_a" name="test_one[x]"/><testcase classname="tests.test_a" name="test_one[y]"/>
        </testsuite></testsuites>""",
    "test-ray.8.xml": '<testsuites><testcase classname="tests.test_ray" name="test_it"/></testsuites>',
}


@pytest.fixture
def skipped() -> ModuleType:
    """`.ci/skipped.py`."""
    spec = importlib.util.spec_from_file_location("ci_skipped", ROOT / ".ci" / "skipped.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_what_was_skipped(skipped: ModuleType, tmp_path: Path) -> None:
    for name, text in REPORTS.items():
        (tmp_path / name).write_text(text)
    assert skipped.table(*skipped.read(tmp_path))[2:] == [
        "| test_a.test_never | 1 | no GPU | test | NO STEP |",
        "| test_a.test_one | 2 | needs valgrind | test | test-c |",
        "| test_ray | 1 | could not import 'ray': No module named 'ray' | test | test-ray |",
    ]


def test_a_report_that_a_full_disk_cut_leaves_the_others_readable(skipped: ModuleType, tmp_path: Path, capsys) -> None:
    (tmp_path / "test.1.xml").write_text("")
    (tmp_path / "test-ray.8.xml").write_text(REPORTS["test-ray.8.xml"])
    assert skipped.read(tmp_path)[0]["tests.test_ray.test_it"] == {"test-ray"}
    assert "test.1.xml was not written to its end" in capsys.readouterr().out


def test_what_passes_at_the_second_try_alone_is_said(skipped: ModuleType, tmp_path: Path) -> None:
    case = '<testsuites><testcase classname="tests.test_a" name="test_slow">{}</testcase></testsuites>'
    (tmp_path / "test.1.xml").write_text(case.format('<failure message="late"/>'))
    (tmp_path / "test-c.1.xml").write_text(case.format('<failure message="wrong"/>'))
    assert skipped.unsteady(tmp_path) == []
    (tmp_path / "test.2.xml").write_text(case.format(""))
    assert skipped.unsteady(tmp_path) == ["test: tests.test_a.test_slow"]


def test_times_and_no_table(skipped: ModuleType, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "seconds").write_text("demo 40\ntest 600\n")
    monkeypatch.setattr("sys.argv", ["skipped.py", str(tmp_path)])
    skipped.main()
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["demo", "40", "s"], ["test", "600", "s"], ["together", "640", "s"], ["no", "test", "was", "skipped"],
    ]  # fmt: skip


def test_every_step_is_a_target_and_every_mark_has_one() -> None:
    """A mark that no step runs would leave its tests undone."""
    run = (ROOT / ".ci" / "run").read_text()
    make = (ROOT / "Makefile").read_text()
    steps = run.split("steps=(")[1].split(")")[0].split()
    assert set(steps) <= {line.split(":")[0] for line in make.splitlines() if not line.startswith(("\t", "#"))}
    marks = {"bridges", "c", "export", "pages", "wheels"}
    assert all(f"-m {mark}" in make and f"test-{mark}" in steps for mark in marks)
