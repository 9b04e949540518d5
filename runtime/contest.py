"""Two sessions of one network on different numbers of threads, of which the faster one in the caller's loop stays.

Owns that trial. Knows sessions by their `run` alone, nothing of what tensors mean or of who calls.
"""

import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

_BEFORE, _BLOCK, _BLOCKS = 60, 12, 6  # calls before the rival is opened, in a row of each, and how many such rows
_WORTH = 0.95  # of the time from call to call, or nothing changes


class Contest:
    """An ONNX Runtime session that becomes `rival()` if the loop around it is faster so.

    What counts is the time from one call to the next, with reading and all else that happens meanwhile, so calls must
    come one after the other. A rival whose outputs differ in any bit is out: results never depend on who wins. A short
    video never sees one.
    """

    def __init__(self, session: Any, rival: Callable[[], Any]) -> None:
        self._session, self._open = session, rival
        self._lock, self._over = threading.Lock(), False
        self._rival: Any = None
        self._calls, self._last = 0, 0.0
        self._taken: tuple[list[float], list[float]] = [], []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, *given: Any) -> Any:
        """As the session's own."""
        if self._over:
            return self._session.run(*given)
        with self._lock:
            session = self._whose_turn(given)
        return session.run(*given)

    def _whose_turn(self, given: tuple[Any, ...]) -> Any:
        at, now = self._calls - _BEFORE, time.perf_counter()
        since, self._last = now - self._last, now
        self._calls += 1
        if at < 0 or self._over:
            return self._session
        if at == 0:
            self._rival = self._open()
            self._over = not _same(self._session.run(*given), self._rival.run(*given))
        elif (at - 1) % _BLOCK:  # the first of each row pays for the change
            self._taken[(at - 1) // _BLOCK % 2].append(since)
        if at == _BLOCK * _BLOCKS:
            own, other = map(statistics.median, self._taken)
            self._session, self._over = (self._rival if other < _WORTH * own else self._session), True
        if self._over:
            self._rival = None
            return self._session
        return (self._session, self._rival)[at // _BLOCK % 2]


def _same(some: list[Any], others: list[Any]) -> bool:
    return all(np.array_equal(one, other, equal_nan=True) for one, other in zip(some, others, strict=True))
