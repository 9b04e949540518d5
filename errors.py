"""The one error for what a user can mend, and its commonest case: a package that is not installed."""

from importlib import import_module
from typing import Any


class PosertError(Exception):
    """What went wrong and what to do next; `cli.py` prints both and exits with 1. It can be sent between processes.

    Args:
        what: names the value received and the value expected.
        hint: the next command to run or the next thing to change; empty if there is none. A parameter stands in
            backquotes, `detect_every`; the command line prints its flag instead.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __reduce__(self) -> tuple[type["PosertError"], tuple[str, str]]:
        return type(self), (self.what, self.hint)


def optional(module: str, what: str, extra: str) -> Any:
    """The imported module; raises PosertError(`what`) if it cannot be imported: this extra of posert brings it."""
    return package(module, f"'posert[{extra}]'", what)


def package(module: str, install: str, what: str = "") -> Any:
    """As `optional`, of a package that no extra brings; `install` is what pip installs."""
    try:
        return import_module(module)
    except ImportError:
        raise PosertError(what or f"the package {module} is not installed", f"pip install {install}") from None
