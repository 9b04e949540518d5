"""Which share of the sources a process has: said as `I/N`, or by the scheduler that started it.

Owns these rules and the schedulers' variables. Knows nothing of sources.
"""

import re
from collections.abc import Mapping

from posert.errors import PosertError

COUNT = "POSERT_SHARDS"
"""How many shares there are in all, where the scheduler does not say that: Kubernetes, and SLURM's array once more."""


def read_shard(text: str, environment: Mapping[str, str]) -> tuple[int, int]:
    """I and N of `I/N`: every N-th source from the I-th; of `env`, as a scheduler's variables have it.

    Of SLURM a task of a job array, a process that `srun` started, or both, each array task sharing out its share among
    its processes; of Kubernetes a pod of an indexed job, with `POSERT_SHARDS` beside it. With `POSERT_SHARDS`, numbers
    of array tasks count from 0, so that some of them can be submitted once more.

    >>> read_shard("2/4", {})
    (2, 4)
    >>> read_shard("env", {"JOB_COMPLETION_INDEX": "1", "POSERT_SHARDS": "4"})
    (2, 4)

    Raises:
        PosertError: it is no shard, or the variables do not say one.
    """
    if text == "env":
        return _of_scheduler(environment)
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match.group(1)) <= int(match.group(2)):
        raise PosertError(f"`shard` {text!r} is none", "write it as I/N with I from 1 to N, for example 1/4, or as env")
    return int(match.group(1)), int(match.group(2))


def _of_scheduler(environment: Mapping[str, str]) -> tuple[int, int]:
    index, count = 0, 1
    if "SLURM_ARRAY_TASK_ID" in environment:
        index, count = _of_array(environment)
    elif "JOB_COMPLETION_INDEX" in environment:
        index, count = _number(environment, "JOB_COMPLETION_INDEX"), _number(environment, COUNT)
    elif "SLURM_PROCID" not in environment:
        raise PosertError(
            "`shard` env: neither SLURM's nor Kubernetes' variables are set here",
            "they are in a job array, under srun and in an indexed job; elsewhere write I/N, for example 1/4",
        )
    if "SLURM_PROCID" in environment:
        process, processes = _of_step(environment)
        index, count = index * processes + process, count * processes
    if index >= count:
        what = f"`shard` env: number {index}, counted from 0, of {count} shares"
        raise PosertError(what, f"{COUNT} is to be the number of array tasks, or of the job's completions")
    return index + 1, count


def _of_array(environment: Mapping[str, str]) -> tuple[int, int]:
    """The place of this task in its job array, and how many there are."""
    number = _number(environment, "SLURM_ARRAY_TASK_ID")
    if COUNT in environment:
        return number, _number(environment, COUNT)
    least, most, count, step = (
        _number(environment, f"SLURM_ARRAY_TASK_{name}", usual)
        for name, usual in (("MIN", 0), ("MAX", None), ("COUNT", None), ("STEP", 1))
    )
    if step < 1 or (number - least) % step or (most - least) // step + 1 != count:
        raise PosertError(
            f"`shard` env: the {count} tasks of the job array, {least} to {most}, are not numbered evenly",
            f"submit all of them, as 0-{count - 1}; for some once more, export {COUNT}=N and count from 0",
        )
    return (number - least) // step, count


def _of_step(environment: Mapping[str, str]) -> tuple[int, int]:
    """The number of this process among those of its job step, and how many there are."""
    name = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environment else "SLURM_NTASKS"
    count = _number(environment, name, 1)
    if count > 1 and "SLURM_STEP_ID" not in environment:
        what = f"`shard` env: the job has {count} processes, but this one was not started by srun"
        raise PosertError(what, "write srun before the command, so that each process takes its share")
    return _number(environment, "SLURM_PROCID"), count


def _number(environment: Mapping[str, str], name: str, usual: int | None = None) -> int:
    text = environment.get(name, "" if usual is None else str(usual))
    if not re.fullmatch(r"\d{1,9}", text):
        what = f"`shard` env: {name} is {text!r}" if text else f"`shard` env: {name} is not set"
        raise PosertError(what, f"it is a whole number; export {COUNT}=N where the scheduler does not say how many")
    return int(text)
