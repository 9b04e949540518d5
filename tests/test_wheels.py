"""What `pip install` from source compiles, and how little again."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from posert.postprocess.kernels import load

WHEELS = Path(__file__).parents[1] / "wheels"


@pytest.fixture(scope="module")
def kernels() -> ModuleType:
    return script("kernels")


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"wheels_{name}", WHEELS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "changed", ["runtime/sample.py", "postprocess/decoders/paf/peaks.py", "postprocess/kernels/build.py"]
)
def test_a_change_compiles_what_depends_on_it_alone(kernels: ModuleType, changed: str, monkeypatch) -> None:
    before = kernels.module_keys()
    whole = load.hash_of
    other = load.ROOT / changed
    monkeypatch.setattr(load, "hash_of", lambda paths: whole(paths) + "changed" * (other in paths))
    assert load.ROOT / changed in load.kernel_sources()
    again = {name for name, key in kernels.module_keys().items() if key != before[name]}
    assert again == _users(changed, set(before))


def _users(changed: str, everything: set[str]) -> set[str]:
    if "build" in changed:
        return everything
    own = "posert." + changed.removesuffix(".py").replace("/", ".")
    return {own} | {name for name in everything if "peaks" in own and "bodyparts" in name}
