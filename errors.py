"""The one error for what a user can mend. Knows nothing else."""


class PosertError(Exception):
    """What went wrong and what to do next; `cli.py` prints both and exits with 1.

    Args:
        what: names the value received and the value expected.
        hint: the next command to run or the next thing to change; empty if there is none.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
