"""The layers of CMU's OpenPose networks: what its deploy files say, as a few rules, so that no second file is needed.

A network is a list of layers (name, type, bottoms, top, settings) in the deploy file's order. Knows neither weights nor
file formats.
"""

from collections.abc import Iterator
from dataclasses import dataclass

INPUT, RESULT = "image", "net_output"
_POOL: dict[str, int | str] = {"pool": "MAX", "kernel_size": 2, "stride": 2}
_VGG = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512))


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer; a ReLU or PReLU writes over its bottom."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    top: str
    settings: dict[str, int | str]


def _conv(name: str, bottom: str, count: int, kernel: int, top: str = "") -> Layer:
    return Layer(
        name, "Convolution", (bottom,), top or name, {"num_output": count, "pad": kernel // 2, "kernel_size": kernel}
    )


def _active(name: str, bottom: str, count: int, kernel: int, kind: str = "ReLU") -> Iterator[Layer]:
    """A convolution and its activation."""
    yield _conv(name, bottom, count, kernel)
    prefix = kind.lower()
    for stem in ("Mconv", "conv"):
        if name.startswith(stem):
            label = ("M" if stem == "Mconv" else "") + prefix + name.removeprefix(stem)
            break
    yield Layer(label, kind, (name,), name, {})


def _concat(name: str, bottoms: tuple[str, ...], top: str = "") -> Layer:
    return Layer(name, "Concat", bottoms, top or name, {"axis": 1})


def _trunk(last: tuple[tuple[str, int, str], ...]) -> Iterator[Layer]:
    """VGG-19's first ten layers, then `last`: (name, channels, activation) of 3 x 3 convolutions."""
    bottom = INPUT
    for block, counts in enumerate(_VGG, 1):
        for number, count in enumerate(counts, 1):
            name = f"conv{block}_{number}"
            kind = last[0][2] if name == "conv4_2" else "ReLU"
            yield from _active(name, bottom, count, 3, kind)
            bottom = name
        if block < len(_VGG):
            yield Layer(f"pool{block}", "Pooling", (bottom,), f"pool{block}", _POOL)
            bottom = f"pool{block}"
    for name, count, kind in last:
        yield from _active(name, bottom, count, 3, kind)
        bottom = name


def body_coco(parts: int, pafs: int, stages: int) -> list[Layer]:
    """The two-branch network of 2016 (COCO, MPI): branch L1 gives the fields, L2 the parts; 7 x 7 convolutions."""
    trunk = "conv4_4_CPM"
    layers = list(_trunk((("conv4_3_CPM", 256, "ReLU"), (trunk, 128, "ReLU"))))
    branches = (("L1", pafs), ("L2", parts))
    bottoms = dict.fromkeys(("L1", "L2"), trunk)
    for number, count in ((1, 128), (2, 128), (3, 128), (4, 512)):
        for branch, _ in branches:
            name = f"conv5_{number}_CPM_{branch}"
            layers += _active(name, bottoms[branch], count, 1 if number == 4 else 3)
            bottoms[branch] = name
    for branch, count in branches:
        layers.append(_conv(f"conv5_5_CPM_{branch}", bottoms[branch], count, 1))
        bottoms[branch] = f"conv5_5_CPM_{branch}"
    for stage in range(2, stages + 1):
        layers.append(_concat(f"concat_stage{stage}", (bottoms["L1"], bottoms["L2"], trunk)))
        bottoms = dict.fromkeys(bottoms, f"concat_stage{stage}")
        for number in range(1, 7):
            for branch, _ in branches:
                name = f"Mconv{number}_stage{stage}_{branch}"
                layers += _active(name, bottoms[branch], 128, 1 if number == 6 else 7)
                bottoms[branch] = name
        for branch, count in branches:
            name = f"Mconv7_stage{stage}_{branch}"
            layers.append(_conv(name, bottoms[branch], count, 1))
            bottoms[branch] = name
    layers.append(_concat("concat_stage7", (bottoms["L2"], bottoms["L1"]), RESULT))
    return layers


def _dense_stage(stage: str, bottom: str, width: int, wide: int, count: int) -> Iterator[Layer]:
    """One stage of BODY_25: five blocks of three 3 x 3 convolutions whose results are joined."""
    for block in range(1, 6):
        names = [f"Mconv{block}_{stage}_{i}" for i in range(3)]
        for name in names:
            yield from _active(name, bottom, width, 3, "PReLU")
            bottom = name
        bottom = f"Mconv{block}_{stage}_concat"
        yield _concat(bottom, tuple(names))
    yield from _active(f"Mconv6_{stage}", bottom, wide, 1, "PReLU")
    yield _conv(f"Mconv7_{stage}", f"Mconv6_{stage}", count, 1)


def body_25() -> list[Layer]:
    """Four stages of fields (L2), then two of parts (L1)."""
    trunk = "conv4_4_CPM"
    layers = list(_trunk((("conv4_3_CPM", 256, "PReLU"), (trunk, 128, "PReLU"))))
    for branch, stages, count in (("L2", 4, 52), ("L1", 2, 26)):
        fields = () if branch == "L2" else ("Mconv7_stage3_L2",)
        for number in range(stages):
            bottom, stage = trunk, f"stage{number}_{branch}"
            if number or fields:
                bottom = f"concat_{stage}"
                before = (f"Mconv7_stage{number - 1}_{branch}",) if number else ()
                layers.append(_concat(bottom, (trunk, *before, *fields)))
            layers += _dense_stage(stage, bottom, *((96, 256) if number == 0 else (128, 512)), count)
    return [*layers, _concat(RESULT, ("Mconv7_stage1_L1", "Mconv7_stage3_L2"), RESULT)]


def single_branch(count: int) -> list[Layer]:
    """The face and hand networks: one branch of six stages."""
    names = (("conv4_3", 512), ("conv4_4", 512), ("conv5_1", 512), ("conv5_2", 512), ("conv5_3_CPM", 128))
    layers = list(_trunk(tuple((name, width, "ReLU") for name, width in names)))
    trunk = "conv5_3_CPM"
    layers += _active("conv6_1_CPM", trunk, 512, 1)
    layers.append(_conv("conv6_2_CPM", "conv6_1_CPM", count, 1))
    last = "conv6_2_CPM"
    for stage in range(2, 7):
        bottom = f"concat_stage{stage}"
        layers.append(_concat(bottom, (last, trunk)))
        for number in range(1, 7):
            name = f"Mconv{number}_stage{stage}"
            layers += _active(name, bottom, 128, 1 if number == 6 else 7)
            bottom = name
        last = f"Mconv7_stage{stage}"
        layers.append(_conv(last, bottom, count, 1, RESULT if stage == 6 else ""))
    return layers
