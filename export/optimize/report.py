"""What `optimize` did, in figures and in words."""

from dataclasses import dataclass
from pathlib import Path

from posert.export.optimize.guard import Verdict


@dataclass(frozen=True, slots=True)
class Network:
    """One network before and after.

    Attributes:
        stage: whose it is. file: where it lies now. precision: `float` as it was, `int8` or `fp16`.
        layers: convolutions and matrix products in all, kept: those of them that stayed float.
        bytes: of its file before and after. ms: milliseconds of one run before and after on this machine, medians of
            interleaved runs; 0 where it stayed as it was.
    """

    stage: str
    file: Path
    precision: str
    layers: int
    kept: int
    bytes: tuple[int, int]
    ms: tuple[float, float]

    def __str__(self) -> str:
        if self.precision == "float":
            return f"{self.stage}: stays as it is ({self.file.name})"
        float_too = f", {self.kept} of {self.layers} layers float" if self.precision == "int8" else ""
        size = f"{self.bytes[0]} -> {self.bytes[1]} bytes"
        speed = f"{self.ms[0]:.2f} -> {self.ms[1]:.2f} ms, {self.ms[0] / self.ms[1]:.2f} times as fast"
        slower = "" if self.ms[1] <= self.ms[0] else "; slower on this machine"
        return f"{self.stage}: {self.precision}{float_too}; {size}; {speed}{slower}"


@dataclass(frozen=True, slots=True)
class Optimized:
    """What `optimize` wrote, and how good it is: `str` of it is the report."""

    output: Path
    networks: tuple[Network, ...]
    verdict: Verdict

    def __str__(self) -> str:
        return "\n".join([*map(str, self.networks), str(self.verdict), str(self.output)])
