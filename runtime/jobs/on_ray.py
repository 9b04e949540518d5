"""The same work on a Ray cluster: actors that each open the model once, paths in, files and people of spans out.

Owns Ray. Knows units of work and recipes, nothing of what is in a frame. Every machine must see the sources, the model
and the output folder under the same paths. Actors may die at any time: what they had is done by others, and a result
counts once.
"""

import logging
import os
import pickle
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from posert.errors import PosertError, optional
from posert.runtime.jobs.job import Job, OnFrame, Outcome
from posert.runtime.jobs.recipe import Recipe
from posert.runtime.jobs.spans import Found, Span, Unit, cut, work_done_by
from posert.runtime.jobs.todo import Todo
from posert.runtime.jobs.trial import Share, choose_share

_LOG = logging.getLogger("posert")
_LOOK_S = 0.2
_IDLE_S = 5.0  # how long an actor without work keeps its place on the cluster
_TRIAL_S, _TRIAL_JOBS = 60.0, 1000
_TAKEN = 20
"""Machines that may be taken away below one unit, which is not its fault."""
_STILLBORN = 5  # times in a row that actors which were begun together die before they begin
_AHEAD_BYTES = 2**28
_RAYS_GPUS = ("cuda", "tensorrt", "migraphx")  # NVIDIA's and AMD's, which Ray counts and hides from other actors


@dataclass(frozen=True, slots=True)
class RayOptions:
    """How the actors are laid out on the cluster.

    Attributes:
        least, most: actors at any time; `most` 0 = as many as the cluster has room for, now and when it grows. A larger
            number asks a cluster that scales by itself for more machines.
        cpus, gpus: of each actor, parts of one too; 0 = by a trial on the cluster.
        tries: of a source, or a part of one, whose actor died.
    """

    least: int = 1
    most: int = 0
    cpus: float = 0.0
    gpus: float = 0.0
    tries: int = 3

    def __post_init__(self) -> None:
        if not (self.least >= 1 and (self.most == 0 or self.least <= self.most) and self.tries >= 1):
            raise PosertError(
                f"ray.least {self.least}, ray.most {self.most} and ray.tries {self.tries} do not go together",
                "there is at least one actor and one try, and least is not above most (0 = as there is room)",
            )
        if not (self.cpus >= 0 and self.gpus >= 0):
            what = f"ray.cpus {self.cpus} and ray.gpus {self.gpus} are not what an actor can have"
            raise PosertError(what, "parts of CPUs and GPUs, for example 0.5; 0 = by a trial")


def on_ray(
    recipe: Recipe,
    jobs: Sequence[Job],
    address: str,
    workers: int = 0,
    on_frame: OnFrame | None = None,
    options: RayOptions | None = None,
) -> Generator[Outcome, None, None]:
    """Runs the jobs on Ray and yields outcomes as they come.

    Args:
        address: `ray` joins the cluster of this machine (RAY_ADDRESS) or starts one; `ray://HOST:PORT` joins another.
        workers: actors, over `RayOptions.most`; 0 = as that says.
        on_frame: hears how many frames of sources in spans are joined.

    Raises:
        PosertError: ray is missing, the cluster cannot be reached, the model cannot be opened there, or actors die
            before they begin.
    """
    if address != "ray" and not address.startswith("ray://"):
        raise PosertError(f"`on` {address!r} is no cluster", "use `on` ray, or `on` ray://HOST:PORT")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no reports to anybody unless the user wants them
    os.environ.setdefault("RAY_SCHEDULER_EVENTS", "0")  # an actor that waits for room is no news
    ray = optional("ray", "`on` ray needs Ray", "ray")
    chosen = options or RayOptions()
    if workers:
        chosen = replace(chosen, least=min(chosen.least, workers), most=workers)
    joined = not ray.is_initialized()
    if joined:
        _join(ray, address)
    try:
        yield from _outcomes(ray, _anywhere(recipe), jobs, chosen, on_frame)
    finally:
        if joined:
            ray.shutdown()


def _anywhere(recipe: Recipe) -> Recipe:
    """The recipe as actors need it: sources keep their names, which results carry."""
    model = recipe.model if recipe.model == "nano" else os.path.abspath(recipe.model)
    kind = recipe.options.device.partition(":")[0]
    # an actor sees one GPU, Ray's choice, as number 0
    device = kind if kind in _RAYS_GPUS else recipe.options.device
    return replace(recipe, model=model, options=replace(recipe.options, device=device))


def _outcomes(
    ray: ModuleType, recipe: Recipe, jobs: Sequence[Job], options: RayOptions, on_frame: OnFrame | None
) -> Iterator[Outcome]:
    share = _share(ray, recipe, jobs, options)
    crew = _Crew(ray, recipe, share, options)
    todo = Todo(jobs, cut(recipe, jobs, options.most or crew.room()), recipe.settings, on_frame)
    try:
        while True:
            crew.hand_out(todo)
            waiting = todo.waiting
            if not waiting and not todo.joining and not crew.busy:
                return
            crew.scale(todo.left if waiting else 0)
            for unit, made in crew.made(_LOOK_S):
                outcome = todo.failed(unit, made) if isinstance(made, PosertError) else todo.done(unit, made)
                if outcome is not None:
                    yield replace(outcome, job=unit) if isinstance(unit, Job) else outcome
            for unit in crew.left_behind():
                todo.again(unit)
            yield from todo.joined()
    finally:
        crew.end()
        todo.close()


def _share(ray: ModuleType, recipe: Recipe, jobs: Sequence[Job], options: RayOptions) -> Share:
    """What an actor gets: as the options say, else by a trial where an actor would run."""
    usual = Share(cpus=options.cpus or 1.0, gpus=options.gpus or 1.0 if recipe.options.device in _RAYS_GPUS else 0.0)
    cores = int(max((node["Resources"].get("CPU", 0) for node in _alive(ray)), default=0))
    if options.cpus or options.gpus or len(jobs) < 2 or (cores < 2 and not usual.gpus):
        return replace(usual, threads=max(1, int(usual.cpus)))
    task = ray.remote(_tried_out).options(num_cpus=cores, num_gpus=usual.gpus or None, max_retries=0)
    threads = replace(recipe, options=replace(recipe.options, threads=cores))
    running = task.remote(pickle.dumps((threads, list(jobs[:_TRIAL_JOBS]), os.getcwd())))
    try:
        found: Share = pickle.loads(ray.get(running, timeout=_TRIAL_S))
    except ray.exceptions.RayError as error:
        ray.cancel(running, force=True)
        _LOG.info("no trial on the cluster: %s", str(error).strip().split("\n")[0])
        return usual
    _LOG.info("an actor has %g CPUs, %d threads, %g GPUs", found.cpus, found.threads, found.gpus)
    return found


def _tried_out(given: bytes) -> bytes:
    recipe, jobs, folder = pickle.loads(given)
    os.chdir(folder)
    return pickle.dumps(choose_share(recipe, jobs, gpu=recipe.options.device in _RAYS_GPUS))


def _alive(ray: ModuleType) -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


@dataclass(slots=True, eq=False)
class _Hand:
    """An actor with the units it has, in the order in which it does them."""

    actor: Any
    begun: Any
    batch: int
    node: str | None = None
    has: list[tuple[Any, Unit]] = field(default_factory=list)
    idle_since: float = field(default_factory=time.monotonic)


class _Crew:
    """The actors: as many as there is work and room for."""

    def __init__(self, ray: ModuleType, recipe: Recipe, share: Share, options: RayOptions) -> None:
        self.ray, self.share, self.options = ray, share, options
        gpus = share.gpus or None
        self.kind = ray.remote(_Actor).options(num_cpus=share.cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0)
        one = recipe.for_worker(0)
        self.recipe = pickle.dumps(replace(one, options=replace(one.options, threads=share.threads)))
        self.hands: list[_Hand] = []
        self.back: list[Unit] = []
        self.died, self.taken = Counter[Unit](), Counter[Unit]()
        self.stillborn, self.batch, self.largest = set[int](), 0, 0

    @property
    def busy(self) -> bool:
        return any(hand.has for hand in self.hands) or bool(self.back)

    def room(self) -> int:
        """How many actors the cluster has room for if nobody else uses it."""
        wanted = {"CPU": self.share.cpus, "GPU": self.share.gpus}
        return max(1, sum(
            int(min(node["Resources"].get(name, 0) / part + 1e-6 for name, part in wanted.items() if part))
            for node in _alive(self.ray)
        ))  # fmt: skip

    def scale(self, waiting: int) -> None:
        """More actors while so many units wait and all actors have some; without work they give up their place."""
        if waiting and all(hand.node is not None for hand in self.hands):
            most = min(self.options.most or self.room(), len(self.hands) + waiting)
            wanted = min(most, max(self.options.least, 2 * len(self.hands), self.room()))
            self.batch += 1
            for _ in range(wanted - len(self.hands)):
                actor = self.kind.remote(self.recipe, os.getcwd())
                self.hands.append(_Hand(actor, actor.node.remote(), self.batch))
        now_s = time.monotonic()
        for hand in [hand for hand in self.hands if not (waiting or hand.has) and now_s - hand.idle_since > _IDLE_S]:
            if len(self.hands) > self.options.least:
                self._dismiss(hand)

    def hand_out(self, todo: Todo) -> None:
        """A unit for each actor that has none; then a second one, which hides the cluster's latency.

        The results of all of these fit into memory by what results had so far.
        """
        ready = [hand for hand in self.hands if hand.node is not None]
        for ahead in (1, 2):
            if ahead == 2 and 2 * len(ready) * self.largest > _AHEAD_BYTES:
                return
            for hand in [hand for hand in ready if len(hand.has) < ahead]:
                if (unit := todo.take()) is None:
                    return
                sent = unit.moved(lambda path: path.absolute()) if isinstance(unit, Job) else unit
                hand.has.append((hand.actor.do.remote(pickle.dumps(sent)), unit))

    def made(self, timeout_s: float) -> Iterator[tuple[Unit, Outcome | Found | PosertError]]:
        """What has come back meanwhile, each unit once, and the units that are given up."""
        refs = [hand.begun for hand in self.hands if hand.node is None]
        refs += [ref for hand in self.hands for ref, _ in hand.has]
        if not refs:
            time.sleep(timeout_s)
            return
        ready, _ = self.ray.wait(refs, num_returns=1, timeout=timeout_s)
        ready, _ = self.ray.wait(refs, num_returns=len(refs), timeout=0) if ready else ([], [])
        for hand in list(self.hands):
            try:
                if hand.node is None and hand.begun in ready:
                    hand.node = self.ray.get(hand.begun)
                while hand.has and hand.has[0][0] in ready:
                    given = self.ray.get(hand.has[0][0])
                    _, unit = hand.has.pop(0)
                    hand.idle_since, self.largest = time.monotonic(), max(self.largest, len(given))
                    self.stillborn.clear()
                    yield unit, pickle.loads(given)
            except self.ray.exceptions.RayError as error:
                yield from self._lost(hand, error)

    def _lost(self, hand: _Hand, error: Exception) -> Iterator[tuple[Unit, PosertError]]:
        """An actor is gone: what it was at is tried again, but not for ever; what waited behind that is as new."""
        self._dismiss(hand)
        first = str(error).strip().split("\n")[0]
        _LOG.info("an actor died: %s", first)
        if not hand.has:
            if hand.node is None:
                self.stillborn.add(hand.batch)
            if len(self.stillborn) >= _STILLBORN:
                what = f"{_STILLBORN} times the workers on the cluster died before they began: {first}"
                raise PosertError(what, "see ray logs")
            return
        unit = hand.has[0][1]
        counts, most = (self.died, self.options.tries)
        if self._taken_away(hand, error):
            counts, most = self.taken, _TAKEN
        counts[unit] += 1
        self.back += [waited for _, waited in reversed(hand.has[1:])]
        if counts[unit] < most:
            self.back.append(unit)
            return
        title = (unit.job if isinstance(unit, Span) else unit).title
        what = f"{title}: its worker on the cluster died, {counts[unit]} times"
        yield unit, PosertError(what, "it ran out of memory, or another video killed it: `resume` tries it again")

    def _taken_away(self, hand: _Hand, error: Exception) -> bool:
        """Whether an actor is gone with its machine: where only a process dies, its machine says that it died."""
        its_own = isinstance(error, (self.ray.exceptions.ActorDiedError, self.ray.exceptions.RayTaskError))
        gone = hand.node not in [node["NodeID"] for node in _alive(self.ray)]
        return not its_own or gone or getattr(error, "preempted", False)

    def left_behind(self) -> list[Unit]:
        """The units of actors that died, the one to be done first last."""
        back, self.back = self.back, []
        return back

    def _dismiss(self, hand: _Hand) -> None:
        self.hands.remove(hand)
        self.ray.kill(hand.actor)

    def end(self) -> None:
        for hand in self.hands:
            self.ray.kill(hand.actor)


class _Actor:
    """A worker; opens the model when it starts. A model that cannot be opened is an answer to every unit.

    Args:
        folder: where it runs; sources may be relative paths.
    """

    def __init__(self, recipe: bytes, folder: str) -> None:
        os.chdir(folder)
        self._done = work_done_by(pickle.loads(recipe))

    def node(self) -> str:
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def do(self, unit: bytes) -> bytes:
        made = self._done(pickle.loads(unit))
        return pickle.dumps(made.carried() if isinstance(made, Outcome) else made, pickle.HIGHEST_PROTOCOL)


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
