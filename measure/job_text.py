"""How far a job is, and what it will cost, as a few lines. Knows these records, nothing of where they come from."""

from collections.abc import Callable

from posert.measure.cost import Cost, Guess
from posert.runtime.jobs.status import Status


def as_text(status: Status) -> str:
    """The lines of `posert jobs status`."""
    share = 100 * (status.done + status.failed) / max(1, status.total)
    state = "running: " if status.running else "not running: "
    if status.running is None:
        state = ""
    elif status.running > 1:
        state = f"{status.running} shards running: "
    lines = [
        f"{state}{status.done} of {status.total} done, {status.failed} failed ({share:.1f} %); "
        f"{status.frames} frames, {status.people / max(1, status.frames):.1f} people a frame"
    ]
    if status.rate:
        left = "" if status.left_s is None else f", {duration(status.left_s)} left if the others are like these"
        lines.append(f"{status.rate:.1f} a second over {duration(status.seconds)}{left}")
    if status.parts:
        lines.append(f"dataset: {status.parts} files, {size(status.bytes)}")
    return "\n".join([*lines, *(f"{each.count:7} x {each.kind}\n          {each.example}" for each in status.failures)])


def cost_text(cost: Cost, hours: float | None) -> str:
    """The lines of `posert plan`."""
    failed = f", {cost.failed} of them failed" if cost.failed else ""
    what = "their lengths" if cost.by_length else "their number"
    lines = [
        f"{cost.tried} of {cost.sources} sources tried, drawn at random{failed}; scaled up by {what}",
        f"speed    {cost.frames_per_s:.1f} frames/s, {cost.workers} at once",
        f"time     {_between(cost.seconds, duration)} on this machine",
    ]
    if hours is not None:
        enough, sure = cost.machines(hours)
        lines.append(f"machines {enough} like this one for {hours:g} h, {sure} to be sure")
    lines.append(f"output   {_between(cost.bytes, size)}")
    if cost.worker_bytes:
        lines.append(f"memory   {size(cost.worker_bytes)} a worker at its peak")
    return "\n".join(lines)


def _between(guess: Guess, said: Callable[[float], str]) -> str:
    return f"{said(guess.value)} ({said(guess.low)} to {said(guess.high)})"


def duration(seconds: float) -> str:
    """
    >>> duration(59.2), duration(4000), duration(200000)
    ('59 s', '1 h 07 min', '2 d 08 h')
    """
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    for large, small, unit, less in ((86400, 3600, "d", "h"), (3600, 60, "h", "min")):
        if whole >= large:
            return f"{whole // large} {unit} {whole % large // small:02} {less}"
    return f"{round(whole / 60)} min"


def size(count: float) -> str:
    """
    >>> size(512), size(3.2e9)
    ('512 B', '3.2 GB')
    """
    for power, unit in ((12, "TB"), (9, "GB"), (6, "MB"), (3, "kB")):
        if count >= 10**power:
            return f"{count / 10**power:.1f} {unit}"
    return f"{round(count)} B"
