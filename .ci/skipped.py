"""What `.ci/run` says at its end: how long each step took; which tests passed at the second try alone; which were
skipped, why, and which step ran them.

`python3 .ci/skipped.py FOLDER` reads the file `seconds` (step and seconds) and the JUnit reports `STEP.*.xml` in it.
"""

import re
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

Steps = dict[str, set[str]]


def read(folder: Path) -> tuple[Steps, dict[tuple[str, str], set[str]]]:
    """Test -> the steps that ran it; (test, reason) -> the steps that skipped it. A whole module is a test too."""
    ran: Steps = defaultdict(set)
    skipped: dict[tuple[str, str], set[str]] = defaultdict(set)
    for report in sorted(folder.glob("*.xml")):
        step = report.name.split(".")[0]
        for case in _cases(report):
            module, name = case.get("classname", ""), case.get("name", "")
            test, why = ".".join(filter(None, (module, name))), case.find("skipped")
            if why is None:
                ran[test].add(step)
                ran[module].add(step)
            elif why.get("type") != "pytest.xfail":
                skipped[test, _reason(why)].add(step)
    return ran, skipped


def unsteady(folder: Path) -> list[str]:
    """The tests that a report of a step has as failed and another one of it as passed, after `STEP: `."""
    tries: dict[str, set[bool]] = defaultdict(set)
    for report in sorted(folder.glob("*.xml")):
        for case in _cases(report):
            if case.find("skipped") is None:
                name = f"{report.name.split('.')[0]}: {case.get('classname', '')}.{case.get('name', '')}"
                tries[name].add(case.find("failure") is None and case.find("error") is None)
    return sorted(name for name, passed in tries.items() if passed == {True, False})


@cache
def _cases(report: Path) -> list[ElementTree.Element]:
    """What a report tells of; of one that was cut nothing, and that is said."""
    try:
        return list(ElementTree.parse(report).iter("testcase"))
    except ElementTree.ParseError as error:  # what ended the step, a full disk for one, is told above
        print(f"{report.name} was not written to its end: {error}")
        return []


def _reason(why: ElementTree.Element) -> str:
    """In words; of a module that was skipped as it was collected, pytest tells it in a tuple with file and line."""
    said = re.search(r"""["']Skipped: (.*)["']\)""", why.text or "")
    whole = said[1] if said and why.get("message") == "collection skipped" else why.get("message", "")
    return " ".join(whole.split())


def table(ran: Steps, skipped: dict[tuple[str, str], set[str]]) -> list[str]:
    """Lines of a Markdown table, tests that no step ran first; cases of one test have one line for each reason."""
    rows: dict[tuple[bool, str, str, str, str], int] = defaultdict(int)
    for (test, why), steps in skipped.items():
        elsewhere = sorted(ran.get(test, ()))
        name = test.split("[")[0].removeprefix("tests.")
        rows[bool(elsewhere), name, why, ", ".join(sorted(steps)), ", ".join(elsewhere) or "NO STEP"] += 1
    lines = [f"| {name} | {count} | {why} | {by} | {run} |" for (_, name, why, by, run), count in sorted(rows.items())]
    return ["| test | cases | skipped because | by | run by |", "|---|---|---|---|---|", *lines] if lines else []


def main() -> None:
    """Prints both; says so where nothing was skipped."""
    folder = Path(sys.argv[1])
    seconds = folder / "seconds"
    times = [line.split() for line in seconds.read_text().splitlines()] if seconds.exists() else []
    print("\n".join(f"{step:14} {int(s):5} s" for step, s in [*times, ("together", sum(int(s) for _, s in times))]))
    for name in unsteady(folder):
        print(f"failed side by side, passed alone: {name}")
    print("\n".join(table(*read(folder))) or "no test was skipped")


if __name__ == "__main__":
    main()
