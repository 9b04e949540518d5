"""The layers of CMU's OpenPose networks: what its deploy files say, as a few rules, so that no second file is needed.

A network is a list of Caffe's layers in the deploy file's order. Knows neither weights nor file formats.
"""

from collections.abc import Iterable, Iterator, Mapping

from posert.export.readers.caffe import Layer, layer

INPUT, RESULT = "image", "net_output"
_VGG = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512))


def _conv(name: str, bottom: str, count: int, kernel: int) -> Layer:
    return layer(name, "Convolution", [bottom], name, num_output=count, pad=[kernel // 2], kernel_size=[kernel])


def _active(name: str, bottom: str, count: int, kernel: int, kind: str = "ReLU") -> Iterator[Layer]:
    """A convolution and its activation, which writes over its bottom."""
    yield _conv(name, bottom, count, kernel)
    yield layer(name.replace("conv", kind.lower()), kind, [name], name)


def _concat(name: str, bottoms: Iterable[str], top: str = "") -> Layer:
    return layer(name, "Concat", bottoms, top or name, axis=1)


def _trunk(kind: str, last: Mapping[str, int]) -> Iterator[Layer]:
    """VGG-19's first ten layers, then 3 x 3 convolutions: name -> channels, activated by `kind`."""
    bottom = INPUT
    for block, counts in enumerate(_VGG, 1):
        for number, count in enumerate(counts, 1):
            name = f"conv{block}_{number}"
            yield from _active(name, bottom, count, 3, kind if name == "conv4_2" else "ReLU")
            bottom = name
        if block < len(_VGG):
            pool = f"pool{block}"
            yield layer(pool, "Pooling", [bottom], pool, pool="MAX", kernel_size=2, stride=2)
            bottom = pool
    for name, count in last.items():
        yield from _active(name, bottom, count, 3, kind)
        bottom = name


def _stages(trunk: str, first: Iterable[tuple[str, int, int]], stages: int, counts: Mapping[str, int]) -> list[Layer]:
    """Stages of branches side by side, each of which sees the trunk and what all branches of the stage before say.

    Args:
        first: name, channels and kernel of the first stage's convolutions; the last one is as wide as its branch.
        counts: ending of a branch's names -> its channels.
    """
    layers: list[Layer] = []
    bottoms = dict.fromkeys(counts, trunk)
    for stage in range(1, stages + 1):
        steps = list(first)
        if stage > 1:
            layers.append(_concat(f"concat_stage{stage}", (*bottoms.values(), trunk)))
            bottoms = dict.fromkeys(counts, f"concat_stage{stage}")
            steps = [(f"Mconv{number}_stage{stage}", 128, 1 if number > 5 else 7) for number in range(1, 8)]
        for step, width, kernel in steps:
            for branch, count in counts.items():
                name = step + branch
                if step == steps[-1][0]:
                    layers.append(_conv(name, bottoms[branch], count, kernel))
                else:
                    layers += _active(name, bottoms[branch], width, kernel)
                bottoms[branch] = name
    return layers


def body_coco(parts: int, pafs: int, stages: int) -> list[Layer]:
    """The two-branch network of 2016 (COCO, MPI): branch L1 gives the fields, L2 the parts; 7 x 7 convolutions."""
    trunk = "conv4_4_CPM"
    first = [(f"conv5_{number}_CPM", 512 if number == 4 else 128, 1 if number > 3 else 3) for number in range(1, 6)]
    layers = [
        *_trunk("ReLU", {"conv4_3_CPM": 256, trunk: 128}),
        *_stages(trunk, first, stages, {"_L1": pafs, "_L2": parts}),
    ]
    return [*layers, _concat("concat_stage7", [layers[-1].name, layers[-2].name], RESULT)]


def _dense_stage(stage: str, bottom: str, width: int, wide: int, count: int) -> Iterator[Layer]:
    """One stage of BODY_25: five blocks of three 3 x 3 convolutions whose results are joined."""
    for block in range(1, 6):
        names = [f"Mconv{block}_{stage}_{i}" for i in range(3)]
        for name in names:
            yield from _active(name, bottom, width, 3, "PReLU")
            bottom = name
        bottom = f"Mconv{block}_{stage}_concat"
        yield _concat(bottom, names)
    yield from _active(f"Mconv6_{stage}", bottom, wide, 1, "PReLU")
    yield _conv(f"Mconv7_{stage}", f"Mconv6_{stage}", count, 1)


def body_25() -> list[Layer]:
    """Four stages of fields (L2), then two of parts (L1)."""
    trunk = "conv4_4_CPM"
    layers = list(_trunk("PReLU", {"conv4_3_CPM": 256, trunk: 128}))
    for branch, stages, count in (("L2", 4, 52), ("L1", 2, 26)):
        fields = () if branch == "L2" else ("Mconv7_stage3_L2",)
        for number in range(stages):
            bottom, stage = trunk, f"stage{number}_{branch}"
            if number or fields:
                bottom = f"concat_{stage}"
                before = (f"Mconv7_stage{number - 1}_{branch}",) if number else ()
                layers.append(_concat(bottom, (trunk, *before, *fields)))
            layers += _dense_stage(stage, bottom, *((96, 256) if number == 0 else (128, 512)), count)
    return [*layers, _concat(RESULT, ("Mconv7_stage1_L1", "Mconv7_stage3_L2"))]


def single_branch(count: int) -> list[Layer]:
    """The face and hand networks: one branch of six stages."""
    trunk = "conv5_3_CPM"
    layers = [
        *_trunk("ReLU", {"conv4_3": 512, "conv4_4": 512, "conv5_1": 512, "conv5_2": 512, trunk: 128}),
        *_stages(trunk, [("conv6_1_CPM", 512, 1), ("conv6_2_CPM", 0, 1)], 6, {"": count}),
    ]
    layers[-1].top[0] = RESULT
    return layers
