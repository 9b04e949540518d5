"""A part of a medium that has a name of its own, as a list or a tar of clips says.

Owns this record. Knows seconds and names; nothing of files, addresses or what is in a frame.
"""

from dataclasses import dataclass, replace
from typing import Any

from posert.runtime.jobs.recipe import Selection

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Clip:
    """What a list says of one of its clips; small, so that it can be sent to another process.

    Attributes:
        id: its name, which that of its results begins with: parts between `/`, none of them `..`.
        start_s, stop_s: frames with start_s <= time < stop_s, as of `Selection`; None = to the end.
        columns: whatever else the list says, (name, value), in the list's order; results carry it.
    """

    id: str
    start_s: float = 0.0
    stop_s: float | None = None
    columns: tuple[tuple[str, Value], ...] = ()

    def within(self, selection: Selection) -> Selection:
        """Those of the selected frames that belong to the clip.

        >>> cut = Clip("a", 2.0, 8.0).within(Selection(start_s=4.0, stop_s=9.0))
        >>> cut.start_s, cut.stop_s
        (4.0, 8.0)
        """
        stops_s = [stop_s for stop_s in (self.stop_s, selection.stop_s) if stop_s is not None]
        return replace(selection, start_s=max(self.start_s, selection.start_s), stop_s=min(stops_s, default=None))

    def record(self) -> dict[str, Any]:
        """As JSON, in results and manifests: `id`, `start_s`, `stop_s`, and `columns` by their names."""
        return {"id": self.id, "start_s": self.start_s, "stop_s": self.stop_s, "columns": dict(self.columns)}
