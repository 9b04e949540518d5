"""What a process needs to know to do jobs: how to open the model, and what to do with each source.

Owns `Recipe` and what a failure of one job is. Knows jobs, nothing of processes or clusters.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from posert.errors import PosertError
from posert.runtime.devices import cpu_cores
from posert.runtime.jobs.job import Job, Outcome, Settings, parse_params, run_job
from posert.runtime.session import Model, open_model

_LOG = logging.getLogger("posert")
OnFrame = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to open the model and what to do with it; small, so that it can be sent to another process.

    Attributes:
        device: as in `open_model`; several, separated by commas, are shared out among the workers.
        threads: CPU threads of one process; 0 = all cores.
    """

    model: str
    settings: Settings
    device: str = "auto"
    threads: int = 0

    def open(self) -> Model:
        """The open model; raises what `open_model` raises."""
        threads = self.threads or cpu_cores()
        in_flight = 1 if self.settings.top_down.detect_every > 1 else threads
        return open_model(
            self.model,
            device=self.device,
            threads=threads,
            workers=in_flight,
            long_edge=self.settings.long_edge,
            scale_number=self.settings.scale_number,
            scale_gap=self.settings.scale_gap,
            detector=self.settings.detector,
            params=parse_params(self.settings.params),
        )

    def for_worker(self, number: int) -> "Recipe":
        """The recipe of one worker process of many: a single thread, the next device in turn."""
        devices = self.device.split(",")
        return replace(self, threads=1, device=devices[number % len(devices)])


def attempt(model: Model, job: Job, settings: Settings, on_frame: OnFrame | None = None) -> Outcome:
    """What became of one job; a failure is a value, so that the next job can follow."""
    try:
        return Outcome(job, run_job(model, job, settings, on_frame=on_frame), None)
    except PosertError as error:
        return Outcome(job, None, error)
    except Exception as error:  # one odd file must not end a night's work
        _LOG.debug("unexpected failure in %s", job.source, exc_info=True)
        return Outcome(job, None, PosertError(f"{job.source}: {type(error).__name__}: {error}", "see --debug"))
