"""The process of a program: its standard streams, which may be closed, and signals that end it. Knows nothing else."""

import os
import signal
import sys


def heed_signals() -> None:
    """An ended session and a polite kill are as Ctrl-C; `nohup` stays what it is."""
    for name in ("SIGTERM", "SIGHUP"):
        sent = getattr(signal, name, None)  # Windows has no SIGHUP
        if sent is not None and signal.getsignal(sent) != signal.SIG_IGN:
            signal.signal(sent, signal.default_int_handler)


def reopen_standard_streams() -> None:
    """A stream that the caller closed leads nowhere; else the next file would take its number, and what is said."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
