"""A share of `make fuzz` in the suite, and every input that once was a finding."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from fuzz import feed
from fuzz_targets import NEEDS, TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ONCE = json.loads(Path(__file__).with_name("fuzz_seeds.json").read_text())
NAMES = [name for name in TARGETS if name not in NEEDS or importlib.util.find_spec(NEEDS[name])]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1))
def test_any_input_is_taken_or_refused(name: str, tmp_path_factory: pytest.TempPathFactory, number: int) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    folder.mkdir(exist_ok=True)
    feed(name, 1, number, folder)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "number"), [(name, number) for name in NAMES for number in ONCE.get(name, ())])
def test_what_once_was_a_finding(name: str, number: int, tmp_path: Path) -> None:
    feed(name, 0, number, tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_inputs_of_one_number_are_the_same(name: str, tmp_path: Path) -> None:
    def told() -> str:
        rng = np.random.default_rng([0, 7])
        try:
            return repr(TARGETS[name][0](rng, tmp_path)) + str(rng.integers(2**62))
        except Exception as error:
            return repr(error) + str(rng.integers(2**62))

    assert told() == told()
