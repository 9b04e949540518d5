"""How the cores are shared out: frames in flight, the threads of each network call, how long idle threads spin.

Owns that choice and what was measured for it. Knows stages and options, neither sessions nor frames.
"""

from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from posert.runtime.devices import cpu_cores
from posert.runtime.joining import looks_again
from posert.runtime.options import ModelOptions
from posert.runtime.spec import ModelSpec

SPIN_US = 20
"""How long the threads of a call look for its next step before they sleep, where no other call runs.

Waking them costs about as much as a step of a small network: MoveNet int8 4.1 ms without, 2.7 with, Thunder 18.4 and
17.7. Longer spinning gains little more, and takes the cores from whoever reads the video: with 20, 50 and 200 us the
loop of MoveNet int8 makes 165, 152 and 144 frames/s at 1080p, two cores.
"""
_SPINS = (1, 26)
"""ONNX Runtime has a limit for spinning since this version; before, its threads spin for milliseconds."""


@dataclass(frozen=True, slots=True)
class Share:
    """How a model uses the cores.

    Attributes:
        workers: frames in flight.
        threads: of each network call.
        spin_us: how long these look for work before they sleep.
        rival: another number of threads that may be better, see `Contest`; 0 = there is none.
    """

    workers: int
    threads: int
    spin_us: int = 0
    rival: int = 0

    @property
    def rivals(self) -> "Share":
        """The same with the other number of threads."""
        return replace(self, threads=self.rival, rival=0)

    def settle(self, session_options: Any, ort: ModuleType) -> None:
        """Writes threads and spinning into ONNX Runtime's `SessionOptions`."""
        spins = bool(self.spin_us) and _version(ort) >= _SPINS
        session_options.intra_op_num_threads = self.threads
        session_options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spins)))
        if spins:
            session_options.add_session_config_entry("session.intra_op.spin_duration_us", str(self.spin_us))


def shared_out(spec: ModelSpec, options: ModelOptions) -> Share:
    """The cores of a model: all of them for each frame, if these come one after the other, else shared out."""
    cores = options.threads or cpu_cores()
    workers = 1 if in_turn(spec) or options.latency else options.workers
    threads = max(1, cores // workers)
    # Where the network is small and the pictures are large, a call on all cores loses them to the reader in its middle.
    rival = threads // 2 if in_turn(spec) and not (options.threads or options.latency) else 0
    # Threads that spin beside other calls take the cores from those.
    return Share(workers, threads, SPIN_US if workers == 1 and threads > 1 else 0, rival)


def thread_counts(options: ModelOptions) -> list[int]:
    """The numbers of threads that are worth trying for a model, ascending."""
    cores = options.threads or cpu_cores()
    if not options.latency or options.threads:
        return [cores]
    counts = [cores]
    while counts[0] > 1:
        counts.insert(0, (counts[0] + 1) // 2)
    return counts


def in_turn(spec: ModelSpec) -> bool:
    """Whether a model looks in each frame where the last one's people were, unless boxes are given."""
    return any(stage.region == "follow" or looks_again(stage) for stage in spec.stages)


def _version(ort: ModuleType) -> tuple[int, ...]:
    return tuple(int(part) for part in ort.__version__.split(".")[:2])
