"""Short trials of equal cost: what a change of network, loss or average brings, from one start, on one seed.

    python -m posert.export.nano.training.trials KIND --init checkpoint.pt --cache DIR=SHARE ... --out DIR --seconds N

Owns the variants; each trains for so many seconds of one processor, at a rate that falls to nothing, and writes a
state like that of `train`. None of this is what nano was trained with.
"""

import argparse
import copy
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numba
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from posert.export.nano import layout
from posert.export.nano.network import PoseNano, convolution
from posert.export.nano.training import crops, train
from posert.export.nano.training.train import Training, loss_of

K = layout.KEYPOINTS
FINER = 2  # fine maps have so many cells for one
FINE_SIGMA = 1.5  # fine cells
NEAR = 4.0  # fine cells around a labelled joint that are the label's alone; so far do its offsets go as well
SHAPES: dict[str, dict[str, Any]] = {
    "wider": {"widths": (48, 96, 160, 192)},
    "deeper": {"blocks": (2, 3), "dilations": (1, 2, 3), "more": 1},
}
KINDS = ("base", *SHAPES, "fine", "offsets", "focal", "distilled", "int8", "averages")
KEEP = {"average_98": 0.98, "average_99": 0.99, "average_998": 0.998}  # running averages, of one run at one rate


class Fine(PoseNano):
    """A third answer: heatmaps f32 [B,18,H/4,W/4], from what stride 8 knows and the stem has; at first the second's."""

    def __init__(self) -> None:
        super().__init__()
        self.low = convolution(48, 32)
        self.up = convolution(96, 32 * FINER**2, 1)
        self.both = convolution(64, 48)
        self.h3 = nn.Conv2d(48, K, 1)
        nn.init.zeros_(self.h3.weight)
        nn.init.zeros_(self.h3.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        first, second, features, stem = self.inside(x)
        fine = F.pixel_shuffle(self.up(features), FINER)
        plain = F.interpolate(second[:, :K].float(), scale_factor=FINER, mode="bicubic")
        return first, second, plain + self.h3(self.both(torch.cat([fine, self.low(stem)], 1))).float()


class Offsets(PoseNano):
    """A third answer: f32 [B,36,H/8,W/8], x then y of every joint, in cells from a cell near it to the joint."""

    def __init__(self) -> None:
        super().__init__()
        self.towards = nn.Sequential(convolution(96, 96), nn.Conv2d(96, 2 * K, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        first, second, features, _ = self.inside(x)
        return first, second, self.towards(features).float()


class Rounded(nn.Conv2d):
    """A convolution whose input has 255 steps and whose weights have 255 for each output; `rounded` makes it of one."""

    low, high = 0.0, 0.0  # of the input, a running average

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.high == self.low:
            keep = 0.98 if self.high > self.low else 0.0
            self.low = keep * self.low + (1 - keep) * min(float(x.detach().min()), 0.0)
            self.high = keep * self.high + (1 - keep) * float(x.detach().max())
        step = max(self.high - self.low, 1e-6) / 255
        zero = round(-self.low / step)
        largest = self.weight.detach().abs().amax((1, 2, 3)).clamp(min=1e-8) / 127
        zeros = torch.zeros(len(largest), dtype=torch.int32)
        weight = torch.fake_quantize_per_channel_affine(self.weight, largest, zeros, 0, -127, 127)
        steps = torch.fake_quantize_per_tensor_affine(x.float(), step, zero, 0, 255)
        return self._conv_forward(steps, weight, self.bias)


def rounded(net: PoseNano) -> PoseNano:
    """The network as int8 computes it, all but its stem, in place."""
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d) and not name.startswith("stem"):
            layer.__class__ = Rounded
    return net


def ranges(net: nn.Module) -> dict[str, tuple[float, float]]:
    """Lowest and highest input of each convolution of a rounded network, by name."""
    return {name: (layer.low, layer.high) for name, layer in net.named_modules() if isinstance(layer, Rounded)}


@numba.njit(cache=True)
def _sharpen(people: NDArray[np.float32], maps: NDArray[np.float32], sigma: float) -> None:
    """Draw people f32 [N,18,3] (cells of the maps) over maps f32 [c,c,18], which around a joint show nothing else."""
    for peak in range(2):
        for person in people:
            for k in range(person.shape[0]):
                x, y, seen = person[k]
                for row in range(max(0, int(y - NEAR)), min(maps.shape[0], int(y + NEAR) + 1) if seen else 0):
                    for column in range(max(0, int(x - NEAR)), min(maps.shape[1], int(x + NEAR) + 1)):
                        value = np.exp(-((row - y) ** 2 + (column - x) ** 2) / (2 * sigma**2)) if peak else 0.0
                        maps[row, column, k] = max(maps[row, column, k], value) if peak else 0.0


@numba.njit(cache=True)
def _point(people: NDArray[np.float32], maps: NDArray[np.float32], reach: float) -> None:
    """Into maps f32 [c,c,36] of NaN: the way from each cell near a joint to it, in cells."""
    for person in people:
        for k in range(person.shape[0]):
            x, y, seen = person[k]
            for row in range(max(0, int(y - reach)), min(maps.shape[0], int(y + reach) + 1) if seen else 0):
                for column in range(max(0, int(x - reach)), min(maps.shape[1], int(x + reach) + 1)):
                    maps[row, column, k], maps[row, column, K + k] = x - column, y - row


def third_target(kind: str, batch: crops.Batch) -> Tensor:
    """What the third answer should be: f32 [B,C,h,w], NaN where nobody knows; empty where there is none."""
    if kind == "fine":
        plain = torch.from_numpy(batch.targets[..., :K]).permute(0, 3, 1, 2)
        maps = F.interpolate(plain, scale_factor=FINER, mode="bilinear").permute(0, 2, 3, 1).contiguous()
        for people, drawn in zip(batch.people, maps.numpy(), strict=True):
            cells = people.copy()
            cells[:, :, :2] = FINER * people[:, :, :2] + (FINER - 1) / 2
            _sharpen(cells, drawn, FINE_SIGMA)
        return maps.permute(0, 3, 1, 2)
    if kind == "offsets":
        offsets = np.full((*batch.targets.shape[:3], 2 * K), np.nan, np.float32)
        for people, drawn in zip(batch.people, offsets, strict=True):
            _point(people, drawn, NEAR / FINER)
        return torch.from_numpy(offsets).permute(0, 3, 1, 2)
    return torch.zeros(0)


class Batches(torch.utils.data.IterableDataset[tuple[Tensor, Tensor, Tensor]]):
    """Batches with their third target, made in one worker process."""

    def __init__(self, kind: str, shares: dict[Path, float], seed: int) -> None:
        self.kind, self.shares, self.seed = kind, shares, seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        photos = crops.open_photos(list(self.shares))
        for number in itertools.count():
            batch = crops.batch(photos, list(self.shares.values()), number, crops.Mix(), self.seed)
            yield *train.tensors(batch), third_target(self.kind, batch)


def focal(maps: Tensor, target: Tensor) -> Tensor:
    """`loss_of` whose heatmap cells count by how wrong they are: error / .3 times, .3 at least, 3 at most."""
    with torch.no_grad():
        wrong = (maps.float() - target.nan_to_num()).abs().div(0.3).clamp(0.3, 3.0)
        wrong[:, K:] = 1.0
    return loss_of(maps, target, wrong)


def third_loss(kind: str, maps: Tensor, target: Tensor) -> Tensor:
    """Of the third answer: squared error of fine maps as `loss_of` counts it, absolute error of offsets."""
    if kind == "offsets":
        known = ~target.isnan()
        return 2 * (maps - target.nan_to_num()).abs()[known].mean()
    return loss_of(maps, target)


def run(kind: str, init: Path, shares: dict[Path, float], out: Path, seconds: float, rate: float, seed: int) -> None:
    """Train one variant and write its state and log."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    own = {"fine": Fine, "offsets": Offsets}
    training = Training(rate, 0.02, True, own[kind]() if kind in own else PoseNano(**SHAPES.get(kind, {})))
    training.load(torch.load(init, weights_only=True), exactly=False)
    if kind == "int8":
        rounded(training.net)
    teacher = copy.deepcopy(training.average).eval() if kind == "distilled" else None
    averages = {name: copy.deepcopy(training.net).eval() for name in (KEEP if kind == "averages" else ())}
    batches = iter(torch.utils.data.DataLoader(Batches(kind, shares, seed), batch_size=None, num_workers=1))
    loss_in = focal if kind == "focal" else loss_of

    def loss(pictures: Tensor, target: Tensor, third: Tensor) -> Tensor:
        training.crops += len(pictures)
        with torch.autocast("cpu", torch.bfloat16):
            answers = training.net(pictures.float())
            if teacher is not None:
                with torch.no_grad():
                    target = target.lerp(teacher(pictures.float())[1].float(), 0.3)
        total = loss_in(answers[0], target) + loss_in(answers[1], target)
        return total + (third_loss(kind, answers[2], third) if len(answers) > 2 else 0)

    begun, started = time.process_time(), time.monotonic()
    while (spent := time.process_time() - begun) < seconds:
        left = max(1 - spent / seconds, 0.01) if kind != "averages" else 1.0
        training.descend(loss(*next(batches)), rate * min(1.0, (training.step + 1) / 30) * left)
        for name, average in averages.items():
            train.follow(average, training.net, KEEP[name])
    photos = crops.open_photos(list(shares)[:1])
    note = {"kind": kind, "steps": training.step, "seconds": round(spent), "wall_s": round(time.monotonic() - started)}
    for name, net in ({"net": training.net.eval()} | averages).items():
        note[f"validation of {name}"] = round(train.validate(net, photos, crops.Mix()), 5)
        state = {"shape": net.shape, "average": net.state_dict(), "crops": training.crops, "ranges": ranges(net)}
        torch.save(state, out / f"{name}.pt")
    (out / "log.json").write_text(json.dumps(note))
    print(note, flush=True)


def main() -> None:
    """Run one trial from the command line."""
    parser = argparse.ArgumentParser(description="A short trial of a variant of posert-nano.")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--init", type=Path, required=True)
    parser.add_argument("--cache", type=train.share, nargs="+", required=True, metavar="DIR=SHARE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=240.0, help="of one processor, for the training process")
    parser.add_argument("--lr", type=float, default=3e-4, help="at first; it falls to nothing, but for averages")
    parser.add_argument("--seed", type=int, default=31)
    asked = parser.parse_args()
    run(asked.kind, asked.init, dict(asked.cache), asked.out, asked.seconds, asked.lr, asked.seed)


if __name__ == "__main__":
    main()
