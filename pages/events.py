"""What happened to ids: who comes, goes, is back after a gap, and who seems to go on under another id. Knows tables."""

from bisect import bisect_left
from typing import Any

import numpy as np

from posert.pages.pack import Table

GAP_S = 0.2
"""A shorter absence is no event, and whoever is there for less is one event, not two."""
SOON_S = 1.0
"""A person who comes so soon after another went, and where that one was, may be the same."""
LEAST_OVERLAP = 0.3

Event = dict[str, Any]


def events_of(table: Table) -> list[Event]:
    """The events in the order of their frames: `kind` (begins, ends, brief, gap, change), `position`, `track`,
    `id`; of a gap `seconds`, of a brief one `frames`, of a change `before`, the id that went."""
    tracks = [(number, key, begin, end) for number, (key, begin, end) in enumerate(table.tracks()) if key]
    found, last = [], len(table.times) - 1
    went = sorted((int(table.position[end - 1]), end - 1) for _, _, _, end in tracks if table.position[end - 1] < last)
    for number, key, begin, end in tracks:
        at = table.position[begin:end]
        about = {"track": number, "id": key}
        if at[0] > 0 and at[-1] < last and table.times[at[-1]] - table.times[at[0]] < GAP_S:
            found.append({"kind": "brief", "position": int(at[0]), "frames": end - begin} | about)
            continue
        if at[0] > 0:
            before = _before(table, begin, went)
            kind: Event = {"kind": "change", "before": before} if before else {"kind": "begins"}
            found.append(kind | {"position": int(at[0])} | about)
        if at[-1] < last:
            found.append({"kind": "ends", "position": int(at[-1])} | about)
        absent_s = np.diff(table.times[at])
        for place in np.flatnonzero((absent_s > GAP_S) & (np.diff(at) > 1)):
            found.append({"kind": "gap", "position": int(at[place + 1]), "seconds": float(absent_s[place])} | about)
    return sorted(found, key=lambda event: (event["position"], event["id"]))


def _before(table: Table, row: int, went: list[tuple[int, int]]) -> int:
    """The id of whoever went shortly before this row at the same place, 0 if nobody did."""
    best, of, now = LEAST_OVERLAP, 0, int(table.position[row])
    for position, last in reversed(went[: bisect_left(went, (now, 0))]):
        if table.times[now] - table.times[position] > SOON_S:
            break
        if (overlap := _overlap(table.boxes_xyxy[row], table.boxes_xyxy[last])) > best:
            best, of = overlap, int(table.ids[last])
    return of


def _overlap(one: Any, other: Any) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    inner = float(np.prod(np.maximum(high - low, 0)))
    areas = sum(float(np.prod(box[2:] - box[:2])) for box in (one, other))
    return inner / max(areas - inner, 1e-9)
