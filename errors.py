"""The one error for what a user can mend. Knows nothing else."""


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
