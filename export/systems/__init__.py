"""The systems: official weights -> graph and metadata. A file or folder here is a system by its name.

Names of systems stay in this folder. `System` is what each of them has.
"""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Protocol, cast

from posert.errors import PosertError

if TYPE_CHECKING:
    from posert.export.onnx_file import Exported, Reference
    from posert.export.weights import Entry


class System(Protocol):
    """What the module of a system has; mypy holds every one of them to it."""

    @property
    def OPTIONS(self) -> frozenset[str]:
        """What `build` can be asked for besides; empty if nothing."""

    @property
    def STAND_INS(self) -> dict[str, str]:
        """Route -> what an export is compared with, in words, where that is not the original itself."""

    @property
    def ROUNDED(self) -> dict[str, str]:
        """Route -> why outputs differ from the original's ("as ..."), in words, where they do; else they are equal."""

    @property
    def OWN(self) -> dict[str, str]:
        """Ending of a file of one's own ("" = a folder) -> its route, for the row that is called as the system."""

    def build(self, entry: "Entry", path: Path, options: frozenset[str]) -> "Exported":
        """The ONNX graph and the metadata of the official file `path` of a row of `models.lock`.

        Raises:
            PosertError: the file cannot be converted, or is not what the entry says.
        """

    def reference(self, entry: "Entry", path: Path) -> "Reference":
        """The original network; not asked for where the route is `onnx`, a file that is its own original, or `tfjs`."""


if TYPE_CHECKING:
    from posert.export.systems import alphapose, mediapipe, movenet, nano, openpifpaf, openpose, recipes, yolo

    def _held_to_it(*systems: System) -> None: ...

    _held_to_it(alphapose, mediapipe, movenet, nano, openpifpaf, openpose, recipes, yolo)


def system_names() -> list[str]:
    """The systems, sorted."""
    return sorted(module.name for module in iter_modules(__path__))


def find_system(name: str) -> System:
    """The module of a system, its name checked against this folder before anything is imported.

    Raises:
        PosertError: there is none, or a package that it needs is not installed.
    """
    if name not in system_names():
        raise PosertError(
            f"this posert has no system {name!r}; it has {', '.join(system_names())}", "pip install -U posert"
        )
    try:
        return cast(System, import_module(f"posert.export.systems.{name}"))
    except ModuleNotFoundError as error:
        raise PosertError(f"conversions need more packages: {error}", "pip install 'posert[export]'") from None
