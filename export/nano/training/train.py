"""Training, resumable: `python -m posert.export.nano.training.train --cache DIR=SHARE ... --out DIR --steps N`.

A run has one learning rate that falls linearly from `--lr` to `--lr-end` (both equal: it stays). A long stay at a high
rate, which any later session can continue, then a short fall is as good as a cosine and needs no planned end. SIGTERM
stops a run after its step, saved; the same command with `--resume` goes on exactly where it stopped.
"""

import argparse
import copy
import itertools
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from posert.export.nano.network import PoseNano, grown, made
from posert.export.nano.training import crops
from posert.export.nano.training.muon import Muon

SAVE_EVERY_S = 180.0
WARM_STEPS = 100
LOOK_AGAIN = 600  # batches after which the caches are opened again: the teacher may have answered more
WHOLE_AT_ONCE = 16  # validation pictures in one batch


class Batches(torch.utils.data.IterableDataset[tuple[Tensor, Tensor]]):
    """Batches `first`, `first + 1`, ... made in one worker process, so that the training core only trains."""

    def __init__(self, shares: dict[Path, float], mix: crops.Mix, seed: int, first: int) -> None:
        self.shares, self.mix, self.seed, self.first = shares, mix, seed, first

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        for number in itertools.count(self.first):
            if number == self.first or number % LOOK_AGAIN == 0:
                photos = crops.open_photos(list(self.shares))
            yield tensors(crops.batch(photos, list(self.shares.values()), number, self.mix, self.seed))


def tensors(batch: crops.Batch) -> tuple[Tensor, Tensor]:
    """Pictures u8 and targets f32 as tensors [B,C,H,W] whose memory is channels-last."""
    return torch.from_numpy(batch.pictures).permute(0, 3, 1, 2), torch.from_numpy(batch.targets).permute(0, 3, 1, 2)


def loss_of(maps: Tensor, target: Tensor, times: float | Tensor = 1.0) -> Tensor:
    """Squared error summed over channels, mean over cells, counted so many times; NaN in the target costs nothing."""
    known = target.nan_to_num()
    # cells with signal count more: the maps are almost empty
    weight = torch.cat([1 + 5 * known[:, :18].clamp(min=0), 1 + 3 * known[:, 18:].abs()], 1) * ~target.isnan() * times
    return ((maps.float() - known).square() * weight).sum() / (target.shape[0] * target.shape[2] * target.shape[3])


class Training:
    """Everything that changes while training: the network, its running average, both optimisers."""

    def __init__(self, rate: float, decay: float, muon: bool, net: PoseNano) -> None:
        self.net = net.to(memory_format=torch.channels_last).train()
        self.average = copy.deepcopy(self.net).eval()
        learning = {name: p for name, p in self.net.named_parameters() if p.requires_grad}
        inner = [p for name, p in learning.items() if p.ndim == 4 and name[:2] not in ("h1", "h2")]
        inside = {id(p) for p in inner}
        outer = [p for p in learning.values() if id(p) not in inside]
        if not muon:
            inner, outer = [], [*inner, *outer]
        groups = [
            {"params": [p for p in outer if p.ndim > 1], "weight_decay": decay},
            {"params": [p for p in outer if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimisers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, rate, fused=True)]
        if muon:
            self.optimisers.append(Muon(inner, rate, decay))
        self.parameters = [*inner, *outer]
        self.step = 0
        self.crops = 0

    def state(self) -> dict[str, Any]:
        """All of it, to save."""
        return {
            "shape": self.net.shape,
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "step": self.step,
            "crops": self.crops,
        }

    def load(self, state: dict[str, Any], *, exactly: bool) -> None:
        """Continue from a state: `exactly`, or as the start of a new run (layers that it lacks start as they are)."""
        for net, saved in ((self.net, state.get("net", state["average"])), (self.average, state["average"])):
            net.load_state_dict(saved if exactly else grown(saved, net))
        self.crops = state.get("crops", 0)
        if exactly:
            for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(saved)
            self.step = state["step"]

    def learn(self, batch: tuple[Tensor, Tensor], rate: float, keep: float) -> float:
        """One step on one batch; its loss."""
        pictures, target = batch
        with torch.autocast("cpu", torch.bfloat16):
            first, second = self.net(pictures.float())
        loss = loss_of(first, target) + loss_of(second, target)
        self.descend(loss, rate)
        self.crops += len(pictures)
        follow(self.average, self.net, keep)
        return float(loss.item())

    def descend(self, loss: Tensor, rate: float) -> None:
        """One step of both optimisers."""
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, 5.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1


def stand_still(net: nn.Module, saved: dict[str, Tensor]) -> None:
    """Only what a network has beyond the one with the weights `saved` learns."""
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name not in saved)


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, keep: float) -> None:
    """Move a running average towards a network, in place."""
    for mean, value in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - keep)
        else:
            mean.copy_(value)


@torch.no_grad()
def validate(net: PoseNano, photos: crops.Photos, mix: crops.Mix) -> float:
    """Loss of the second stage on the whole pictures of the validation split."""
    indices = photos.split("val")
    total = 0.0
    for start in range(0, len(indices), WHOLE_AT_ONCE):
        part = indices[start : start + WHOLE_AT_ONCE]
        pictures, target = tensors(crops.whole(photos, part, mix))
        with torch.autocast("cpu", torch.bfloat16):
            maps = net(pictures.float())[1]
        total += float(loss_of(maps, target)) * len(part)
    return total / len(indices)


def save(state: dict[str, Any], path: Path) -> None:
    """Write a state under a temporary name, then rename it: a kill leaves the old file."""
    torch.save(state, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


class Threads:
    """One thread or two, whichever is faster at present: two wait for each other when the machine has other work."""

    ROUND, TRIAL = 60, 6  # steps
    SLOW = 1.3  # a step of two threads that took this many times a step of one ends the use of two

    def __init__(self) -> None:
        self.spent_s = [0.0, 0.0]
        self.best = 1

    def choose(self, step: int) -> int:
        """How many threads this step takes."""
        place = step % self.ROUND
        if place == 0:
            self.spent_s = [0.0, 0.0]
        if place < self.TRIAL:
            return 1
        if place == self.TRIAL:
            self.best = 2
        if place == 2 * self.TRIAL and self.spent_s[1] > self.spent_s[0]:
            self.best = 1
        return self.best

    def spent(self, step: int, threads: int, seconds: float) -> None:
        """Note how long a step took."""
        if step % self.ROUND < 2 * self.TRIAL:
            self.spent_s[threads - 1] += seconds
        if threads == 2 and seconds > self.SLOW * self.spent_s[0] / self.TRIAL:
            self.best = 1


def run(arguments: argparse.Namespace) -> None:
    """Train as the command line says."""
    torch.set_num_threads(arguments.threads or 1)
    threads = Threads() if not arguments.threads else None
    cv2.setNumThreads(1)
    torch.manual_seed(arguments.seed)
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    shape = {"blocks": tuple(arguments.blocks), "dilations": tuple(arguments.dilations), "more": arguments.more}
    net = made(twice=arguments.twice, **shape)
    start = torch.load(arguments.init, weights_only=True) if arguments.init else None
    if arguments.still and start:
        stand_still(net, start["average"])
    training = Training(arguments.lr, arguments.decay, not arguments.adamw, net)
    latest = out / "state.pt"
    resumed = arguments.resume and latest.exists()
    if resumed:
        training.load(torch.load(latest, weights_only=True), exactly=True)
    elif start:
        training.load(start, exactly=False)
    mix, shares = crops.Mix(), dict(arguments.cache)
    photos = crops.open_photos(list(shares)[:1])
    source = Batches(shares, mix, arguments.seed, training.step)
    batches = iter(torch.utils.data.DataLoader(source, batch_size=None, num_workers=1, prefetch_factor=6))
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    record = {key: str(value) for key, value in vars(arguments).items()} | {"mix": asdict(mix)}
    started, saved, losses = time.monotonic(), time.monotonic(), []
    with (out / "log.jsonl").open("a") as log:

        def note(**values: Any) -> None:
            log.write(json.dumps({"step": training.step, "crops": training.crops, **values}) + "\n")
            log.flush()

        note(started=record, validation=validate(training.average, photos, mix))
        while training.step < arguments.steps and not stopping:
            part = training.step / arguments.steps
            rate = arguments.lr + (arguments.lr_end - arguments.lr) * part
            rate *= min(1.0, (training.step + 1) / WARM_STEPS)
            batch = next(batches)
            begun = time.monotonic()
            if threads:
                step, count = training.step, threads.choose(training.step)
                torch.set_num_threads(count)
            losses.append(training.learn(batch, rate, arguments.keep))
            if threads:
                threads.spent(step, count, time.monotonic() - begun)
            if training.step % 100 == 0:
                note(
                    loss=round(float(np.mean(losses[-100:])), 4),
                    threads=torch.get_num_threads(),
                    seconds=round(time.monotonic() - started),
                )
            if training.step % arguments.every == 0:
                note(validation=validate(training.average, photos, mix), rate=rate)
            if time.monotonic() - saved > SAVE_EVERY_S:
                save(training.state(), latest)
                saved = time.monotonic()
        save(training.state(), latest)
        note(validation=validate(training.average, photos, mix), stopped=bool(stopping))


def share(text: str) -> tuple[Path, float]:
    """A cache and its share of the crops, of FOLDER=SHARE."""
    folder, _, share = text.rpartition("=")
    return Path(folder), float(share)


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description="Train posert-nano.")
    parser.add_argument(
        "--cache", type=share, nargs="+", required=True, metavar="DIR=SHARE",
        help="folders made by cache and by drawn (those under the drawn ones first), each with its share of the crops",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder of this run: state.pt, log.jsonl")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--init", type=Path, help="state or checkpoint to start from")
    parser.add_argument("--resume", action="store_true", help="go on with this run's own state.pt")
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--lr-end", type=float, default=1.5e-3)
    parser.add_argument("--blocks", type=int, nargs=2, default=[1, 2], help="residual blocks at strides 8 and 16")
    parser.add_argument("--dilations", type=int, nargs="+", default=[1], help="of each residual block at stride 32")
    parser.add_argument("--more", type=int, default=0, help="residual blocks of the refinement beyond the first")
    parser.add_argument("--twice", action="store_true", help="a network that looks at half of the picture too")
    parser.add_argument("--still", action="store_true", help="what --init knows stays as it is")
    parser.add_argument("--decay", type=float, default=0.02, help="weight decay")
    parser.add_argument("--keep", type=float, default=0.998, help="share of the running average kept per step")
    parser.add_argument("--adamw", action="store_true", help="AdamW for everything, no Muon")
    parser.add_argument("--every", type=int, default=1000, help="steps between validations")
    parser.add_argument("--threads", type=int, default=0, help="0: one or two, as is faster at the time")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.still and not arguments.init:
        parser.error("--still needs --init")
    run(arguments)


if __name__ == "__main__":
    main()
