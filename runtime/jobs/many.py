"""Many jobs in little memory: each takes 50 bytes, its name, and what its list says of it besides.

Owns how they are kept. Knows clips and jobs, nothing of formats or of how lists are written.
"""

import json
import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from posert.runtime.files.formats import Format
from posert.runtime.jobs.clip import Clip
from posert.runtime.jobs.job import Job
from posert.runtime.media import is_image
from posert.runtime.store.address import suffix


class Medium(NamedTuple):
    """What to open, its name below the folder, pattern or list that it came from, and which clip of it is meant."""

    source: str
    name: str
    clip: Clip | None = None

    def output(self, form: Format) -> str:
        """The name of its results; a clip's are called by its id alone."""
        return form.name(self.name) if self.clip is None else self.name + form.ending(self.source)

    def drawn(self) -> str:
        if self.clip is None:
            return self.name if is_image(self.name) else self.name + ".mp4"
        return self.name + ((suffix(self.source) or Path(self.source).suffix) if is_image(self.source) else ".mp4")


class _Texts:
    """Texts one after the other."""

    def __init__(self) -> None:
        self.bytes, self.ends = bytearray(), array("q", [0])

    def add(self, text: str) -> None:
        self.bytes += text.encode("utf-8", "surrogateescape")
        self.ends.append(len(self.bytes))

    def as_arrow(self, pyarrow: Any) -> Any:
        """An array of Arrow's."""
        ends, texts = pyarrow.py_buffer(self.ends), pyarrow.py_buffer(bytes(self.bytes))
        return pyarrow.LargeStringArray.from_buffers(len(self.ends) - 1, ends, texts)

    def __getitem__(self, number: int) -> str:
        return self.bytes[self.ends[number] : self.ends[number + 1]].decode("utf-8", "surrogateescape")


class Media(Sequence[Medium]):
    """Media in columns."""

    def __init__(self, media: Iterable[Medium]) -> None:
        known: dict[str, int] = {}
        self._which, self._starts, self._stops = array("q"), array("d"), array("d")
        self.names, self.more = _Texts(), _Texts()
        self._types: dict[str, set[type]] = {}
        for source, name, clip in media:
            self._which.append(known.setdefault(source, len(known)))
            self.names.add(name)
            self._starts.append(math.nan if clip is None else clip.start_s)
            self._stops.append(math.nan if clip is None or clip.stop_s is None else clip.stop_s)
            self.more.add(self._said(clip))
        self.sources = list(known)

    def __len__(self) -> int:
        return len(self._which)

    def __getitem__(self, number: Any) -> Any:
        start_s, stop_s = self._starts[number], self._stops[number]
        clip = None
        if start_s == start_s:
            columns = tuple(map(tuple, json.loads(self.more[number] or "[]")))
            clip = Clip(self.names[number], start_s, None if stop_s != stop_s else stop_s, columns)
        return Medium(self.sources[self._which[number]], self.names[number], clip)

    def which(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each of these media the number of its source among `sources`, where each is once."""
        return np.frombuffer(self._which, np.int64)[numbers]

    def times(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """f64 [N] and f64 [N], begin and end of each clip, seconds; NaN where there is none."""
        return np.array(self._starts), np.array(self._stops)

    @property
    def columns(self) -> dict[str, str]:
        """The further columns of the clips, each with the name of its type of Arrow's that holds all its values."""
        return {name: _type(types) for name, types in self._types.items()}

    def _said(self, clip: Clip | None) -> str:
        for name, value in () if clip is None else clip.columns:
            self._types.setdefault(name, set()).add(type(value))
        return said_of(clip)


def said_of(clip: Clip | None) -> str:
    """What its list says of a clip besides, as JSON; nothing if that is nothing."""
    return json.dumps(clip.columns) if clip is not None and clip.columns else ""


def _type(types: set[type]) -> str:
    """
    >>> _type({int, float, type(None)}), _type({int, bool}), _type({type(None)})
    ('float64', 'string', 'string')
    """
    given = types - {type(None)}
    if given == {bool}:
        return "bool_"
    if given == {int}:
        return "int64"
    return "float64" if given and given <= {int, float} else "string"


class Jobs(Sequence[Job]):
    """The jobs of some media, each made when it is asked for; a slice of them is as small.

    Attributes:
        media: of all jobs, of which these may be a part.
    """

    def __init__(
        self, media: Iterable[Medium], job_of: Callable[[Medium], Job], chosen: NDArray[np.int64] | None = None
    ) -> None:
        self.media, self._job_of = media if isinstance(media, Media) else Media(media), job_of
        self.chosen = np.arange(len(self.media)) if chosen is None else chosen

    def __len__(self) -> int:
        return len(self.chosen)

    @overload
    def __getitem__(self, index: int) -> Job: ...
    @overload
    def __getitem__(self, index: slice) -> "Jobs": ...
    def __getitem__(self, index: int | slice) -> "Job | Jobs":
        if isinstance(index, slice):
            return self.kept(self.chosen[index])
        return self._job_of(self.media[int(self.chosen[index])])

    def kept(self, chosen: NDArray[np.int64]) -> "Jobs":
        """Those with these numbers of media."""
        return Jobs(self.media, self._job_of, chosen)

    def sources(self) -> list[str]:
        """What they read, each once."""
        return [self.media.sources[number] for number in np.unique(self.media.which(self.chosen))]

    def names(self, pyarrow: Any) -> Any:
        """What their results are called, an array of Arrow's."""
        return self.media.names.as_arrow(pyarrow).take(pyarrow.array(self.chosen))

    def more(self, pyarrow: Any) -> Any:
        """What their list says of them besides, as JSON, an array of Arrow's."""
        return self.media.more.as_arrow(pyarrow).take(pyarrow.array(self.chosen))
