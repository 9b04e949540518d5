"""What results depend on besides their source: whether those of an earlier run are the same as a new one's.

Owns that comparison. Knows recipes and records of earlier runs, nothing of jobs or files of results.
"""

from typing import Any

from posert import __version__
from posert.runtime.devices import may_run_on
from posert.runtime.files.state import sha256_of
from posert.runtime.jobs.recipe import Recipe
from posert.runtime.session import find_model


class Terms:
    """The model, its detector, the boxes and the settings must be the same, the device of the same kind, and posert's
    version the same but for its last number: a folder never mixes results that may differ.

    Attributes:
        record: `model`, hashes and `settings`, as a manifest keeps them.
    """

    def __init__(self, recipe: Recipe) -> None:
        """Raises PosertError if the model or the boxes cannot be read."""
        detector, boxes = recipe.options.detector, recipe.settings.boxes
        files = {  # few, so always compared by hash; the model's names the hashes of its companions itself
            "model_sha256": find_model(recipe.model),
            "detector_sha256": None if detector is None else find_model(detector),
            "boxes_sha256": boxes,
            **{f"part_{i}_sha256": find_model(part) for i, part in enumerate(recipe.options.parts)},
        }
        hashes = {name: sha256_of(file) for name, file in files.items() if file is not None}
        self.record = {"model": recipe.model, **hashes, "settings": recipe.record()}
        self._usual = Recipe(recipe.model).record()
        self._devices = set().union(*map(may_run_on, recipe.options.device.split(",")))

    def hold(self, record: dict[str, Any]) -> bool:
        """Whether a run with this record, and `posert`, its version, gave what a new one would."""
        record = record | {"settings": _filled(record.get("settings"), self._usual)}
        if any(record.get(name) != value for name, value in self.record.items()):
            return False
        return _results_of(record.get("posert")) == _results_of(__version__)

    def allow(self, device: object) -> bool:
        """Whether the device that ran the network is of a kind that may run it now."""
        return str(device).partition(":")[0] in self._devices


def _results_of(version: object) -> str:
    """The part of a version that results depend on: the last number changes none.

    >>> _results_of("0.2.7")
    '0.2'
    """
    return str(version).rpartition(".")[0]


def _filled(settings: Any, usual: Any) -> Any:
    """What a record says of the settings; those that its posert did not know yet are as usual.

    >>> _filled({"a": 1, "b": {"c": 2}}, {"a": 0, "b": {"c": 0, "d": 3}})
    {'a': 1, 'b': {'c': 2, 'd': 3}}
    """
    if not (isinstance(settings, dict) and isinstance(usual, dict)):
        return settings
    return usual | {name: _filled(value, usual.get(name)) for name, value in settings.items()}
