"""The same job on a Ray cluster: Ray Data's actor pool, the model opened once per actor, paths in, files out.

Owns Ray. Knows jobs and recipes, nothing of what is in a frame. Every machine must see the sources, the model and the
output folder under the same paths.
"""

import logging
import os
import pickle
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from posert.errors import PosertError, optional
from posert.runtime.jobs.job import Job, Outcome, jobs_done_by
from posert.runtime.jobs.recipe import Recipe

_MANY = 8  # jobs per actor
_TRIES = 3


def on_ray(recipe: Recipe, jobs: Sequence[Job], address: str, workers: int = 0) -> Generator[Outcome, None, None]:
    """Runs the jobs on Ray and yields outcomes as they come.

    Args:
        address: `ray` joins the cluster of this machine (RAY_ADDRESS) or starts one; `ray://HOST:PORT` joins another.
        workers: actors, each with one CPU, and one GPU if the recipe's device is CUDA; 0 = as many as the cluster has.

    Raises:
        PosertError: ray is missing, or the cluster cannot be reached.
    """
    if address != "ray" and not address.startswith("ray://"):
        raise PosertError(f"`on` {address!r} is no cluster", "use `on` ray, or `on` ray://HOST:PORT")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no reports to anybody unless the user wants them
    context = optional("ray.data", "`on` ray needs Ray", "ray").DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # a job whose actor always dies fails alone
    import ray

    joined = not ray.is_initialized()
    if joined:
        _join(ray, address)
    try:
        yield from _outcomes(ray, recipe, jobs, workers)
    finally:
        if joined:
            ray.shutdown()


def _outcomes(ray: ModuleType, recipe: Recipe, jobs: Sequence[Job], workers: int) -> Iterator[Outcome]:
    gpus = 1 if recipe.options.device.startswith("cuda") else 0
    room = int(ray.cluster_resources().get("GPU" if gpus else "CPU", 1))
    count = max(1, min(workers or room, len(jobs)))
    model = recipe.model if recipe.model == "nano" else os.path.abspath(recipe.model)
    # an actor sees one GPU, Ray's choice, as number 0
    device = "cuda" if gpus else recipe.options.device
    absolute = replace(recipe, model=model, options=replace(recipe.options, device=device))
    # Sources keep their names: results carry them.
    tasks = [{"number": n, "job": pickle.dumps(job.moved(Path.absolute))} for n, job in enumerate(jobs)]
    # A second job waiting at the actor hides .17 s of the cluster's latency per job. It dies with the first, and
    # might wait behind a long video: not with few jobs, nor when a resumed run tries the dead again.
    ahead = 2 if len(jobs) >= _MANY * count else 1
    results = ray.data.from_items(tasks, override_num_blocks=len(tasks)).map(
        _Actor,
        fn_constructor_args=(absolute.for_worker(0), os.getcwd()),
        compute=ray.data.ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=ahead),
        num_cpus=0 if gpus else 1,
        num_gpus=gpus or None,
        max_restarts=-1,
        max_task_retries=_TRIES - 1,  # Ray would try for ever
    )
    left = dict(enumerate(jobs))
    for row in results.iter_rows():
        outcome: Outcome = pickle.loads(row["outcome"])
        if outcome.unusable and outcome.error is not None:
            raise outcome.error
        yield replace(outcome, job=left.pop(row["number"]))
    for job in left.values():
        what = f"{job.source}: its worker on the cluster died, {_TRIES} times"
        hint = "it ran out of memory, or another video killed it: `resume` tries it again"
        yield Outcome(job, error=PosertError(what, hint))


class _Actor:
    """One worker of the pool; opens the model when it starts.

    A model that cannot be opened is an answer to every task: an actor whose constructor fails is started for ever.

    Args:
        folder: where it runs; sources may be relative paths.
    """

    def __init__(self, recipe: Recipe, folder: str) -> None:
        os.chdir(folder)
        self.done = jobs_done_by(recipe)

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        return {"number": task["number"], "outcome": pickle.dumps(self.done(pickle.loads(task["job"])))}


def _join(ray: ModuleType, address: str) -> None:
    # the actors find what this process imports
    environment = {"env_vars": {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}}
    given = os.environ.get("RAY_ADDRESS") if address == "ray" else address
    more: dict[str, Any] = {"address": given} if given else {"include_dashboard": False}
    try:
        ray.init(logging_level=logging.ERROR, log_to_driver=False, runtime_env=environment, **more)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        first = str(error).strip().split("\n")[0]
        raise PosertError(f"the Ray cluster {address} cannot be joined: {first}", "check it with: ray status") from None
