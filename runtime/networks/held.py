"""How much of a network each provider holds: its share of the nodes and of the time, by ONNX Runtime's own profile."""

import json
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posert.runtime.devices import CPU
from posert.runtime.networks.drawn import drawn_feeds, input_sizes
from posert.runtime.networks.network import node_counts, open_network
from posert.runtime.networks.openvino import OpenVinoSession
from posert.runtime.share import Share
from posert.runtime.spec import Stage

_RUNS = 5
Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Held:
    """What a provider does of a network.

    Attributes:
        provider: ONNX Runtime's name of it, or `OpenVINO`.
        nodes: it holds, of `all_nodes`.
        time: its share of a call's, 0..1.
        call_ms: how long a call takes, by all of them.
    """

    provider: str
    nodes: int
    all_nodes: int
    time: float
    call_ms: float

    def __str__(self) -> str:
        return f"{self.provider}: {self.nodes} of {self.all_nodes} nodes, {self.time:.0%} of {self.call_ms:.1f} ms"


def held(file: Path, stage: Stage, device: str, threads: int) -> list[Held]:
    """Who runs the network of a stage on a device, the largest share of the time first.

    On a GPU the time of a node is that of its call, so the CPU provider's is taken as it is and the rest is the GPU's.

    Raises:
        PosertError: as `open_network` does.
    """
    with tempfile.TemporaryDirectory(prefix="posert-") as folder:
        session = open_network(file, device, Share(1, threads), True, stage, Path(folder, "profile")).session
        feeds = drawn_feeds(session, stage, input_sizes(stage)[0])
        if isinstance(session, OpenVinoSession):
            return [_whole(session, feeds, list(stage.outputs.values()))]
        for _ in range(_RUNS + 1):
            session.run(list(stage.outputs.values()), feeds)
        counts, events = node_counts(session), json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return shares(events, counts)


def _whole(session: OpenVinoSession, feeds: dict[str, Any], names: list[str]) -> Held:
    ms = [session.timed(names, feeds) for _ in range(_RUNS + 1)][1:]
    return Held("OpenVINO", session.node_count(), session.node_count(), 1.0, sum(ms) / _RUNS)


def shares(events: list[Event], counts: dict[str, int]) -> list[Held]:
    """The shares of each provider in a profile of several calls, whose first one warms up.

    Args:
        events: of ONNX Runtime's profile. counts: provider -> nodes, or nothing: then those of the profile.
    """
    calls = sorted((one for one in events if one["name"] == "model_run"), key=lambda one: one["ts"])[1:]
    nodes = [
        one for one in events
        if one.get("cat") == "Node" and "provider" in one.get("args", {}) and one["ts"] >= calls[0]["ts"]
    ]  # fmt: skip
    spent, seen = Counter[str](), Counter[str]()
    for one in nodes:
        spent[one["args"]["provider"]] += one["dur"]
        seen[one["args"]["provider"]] += 1
    counts = counts or {provider: round(count / len(calls)) for provider, count in seen.items()}
    whole = sum(one["dur"] for one in calls)
    others = sum(spent.values()) - spent[CPU]
    on_cpu = min(1.0, spent[CPU] / whole) if others else 1.0
    time = {name: on_cpu if name == CPU else (1 - on_cpu) * spent[name] / max(1, others) for name in counts}
    ordered = sorted(counts, key=lambda name: -time[name])
    total = sum(counts.values())
    return [Held(name, counts[name], total, time[name], whole / len(calls) / 1000) for name in ordered]
