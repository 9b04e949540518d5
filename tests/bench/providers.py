"""What `auto` chose by measurement against ONNX Runtime's CPU provider: the networks' time, and whether people stay.

    python tests/bench/providers.py COCO.json IMAGES/ MODEL... [--threads N] [--rounds N] [--warm N] [--photos N]

Needs `posert[cpu,openvino]`. Each photo goes through both in its true size; networks for one person look at the
annotated boxes. People are equal if each has one of the other side's with an OKS of .99 (boxes: an IoU of .99). Then
the CPU provider's network calls are repeated by each, one after the other: the time is a photo's mean, medians of the
rounds after those that warm up (2; with 8, OpenVINO has compiled the network for each of eight shapes by then).
Networks that `auto` left on the CPU provider run on it twice: their ratio shows the noise. The last column is
OpenVINO's, chosen or not.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np

from posert import estimate_image, open_model
from posert.measure.calls import network_calls
from posert.poses import Frame, Poses
from posert.runtime.devices import cpu_name
from posert.runtime.look import Boxes
from posert.runtime.session import Model

Photo = tuple[Frame, np.ndarray]
"""A picture and the annotated boxes f32 [N,4]."""


def photos(annotations: Path, images: Path, most: int) -> list[Photo]:
    coco, found = json.loads(annotations.read_text(encoding="utf-8")), []
    for index, picture in enumerate(coco["images"][:most]):
        boxes = [one["bbox"] for one in coco["annotations"] if one["image_id"] == picture["id"] and not one["iscrowd"]]
        corners = np.array([[x, y, x + w, y + h] for x, y, w, h in boxes], np.float32).reshape(-1, 4)
        found.append((Frame(cv2.imread(str(images / picture["file_name"])), index), corners))
    return found


def given(model: Model, looked: list[Photo]) -> Boxes | None:
    """The annotated boxes, for a model that has no other."""
    alone = all(stage.region != "frame" for stage in model.spec.stages)
    return (lambda frame: looked[frame.index][1]) if alone else None


def people(model: Model, looked: list[Photo]) -> list[Poses]:
    return [estimate_image(model, frame, boxes=given(model, looked)).poses for frame, _ in looked]


def timed(sides: Mapping[str, Model], looked: list[Photo], rounds: int, warm: int) -> dict[str, list[float]]:
    """Milliseconds of the networks a photo, of each side, round by round."""
    usual = sides["cpu"]
    calls = network_calls(usual, [frame for frame, _ in looked], given(usual, looked))
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(warm + rounds):
        sums = dict.fromkeys(sides, 0.0)
        for stage, tensor in calls:
            for name, model in sides.items():
                began = time.perf_counter()
                model.run(stage, tensor)
                sums[name] += time.perf_counter() - began
        if number >= warm:
            for name, total in sums.items():
                taken[name].append(total * 1000 / len(looked))
    return taken


def equal(one: Poses, other: Poses, sigmas: np.ndarray) -> int:
    """How many people of one have their like among the other's."""
    if not len(one) or not len(other):
        return 0
    if one.keypoints.shape[1] == 0:
        corners = one.boxes_xyxy[:, None], other.boxes_xyxy[None]
        inside = np.clip(np.minimum(*corners)[..., 2:] - np.maximum(*corners)[..., :2], 0, None).prod(-1)
        areas = [(box[..., 2:] - box[..., :2]).prod(-1) for box in corners]
        alike = inside / np.maximum(areas[0] + areas[1] - inside, 1e-9)
    else:
        area = (one.boxes_xyxy[:, 2:] - one.boxes_xyxy[:, :2]).prod(-1)[:, None, None] + 1e-9
        square = ((one.keypoints[:, None, :, :2] - other.keypoints[None, :, :, :2]) ** 2).sum(-1)
        both = (one.keypoints[:, None, :, 2] > 0) & (other.keypoints[None, :, :, 2] > 0)
        either = (one.keypoints[:, None, :, 2] > 0) | (other.keypoints[None, :, :, 2] > 0)
        alike = (np.exp(-square / (2 * area * (2 * sigmas) ** 2)) * both).sum(-1) / np.maximum(either.sum(-1), 1)
    return int((alike.max(axis=1) >= 0.99).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("annotations", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warm", type=int, default=2, help="rounds before those that count")
    parser.add_argument("--photos", type=int, default=100)
    options = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "openvino"))
    print(f"{cpu_name()} ({platform.machine()}), {packages}, {options.threads} threads, load {os.getloadavg()[0]:.1f}")
    looked = photos(options.annotations, options.images, options.photos)
    for file in options.models:
        sides = {name: open_model(file, device=name, threads=options.threads) for name in ("cpu", "auto")}
        chosen = sides["auto"].devices
        found = [people(model, looked) for model in sides.values()]
        sigmas = np.array(sides["cpu"].spec.skeleton.sigmas)
        count = sum(len(one) for side in found for one in side)
        same = sum(equal(a, b, sigmas) + equal(b, a, sigmas) for a, b in zip(*found, strict=True))
        if set(chosen.values()) != {"openvino:CPU"}:
            sides["openvino"] = open_model(file, device="openvino", threads=options.threads)
        taken = timed(sides, looked, options.rounds, options.warm)
        ratios = {name: [a / b for a, b in zip(taken["cpu"], times, strict=True)] for name, times in taken.items()}
        auto, openvino = (statistics.median(ratios.get(name, ratios["auto"])) for name in ("auto", "openvino"))
        where = ", ".join(dict.fromkeys(chosen.values()))
        print(
            f"{Path(file).stem:36} {where:14} cpu {statistics.median(taken['cpu']):7.2f} ms, auto "
            f"{statistics.median(taken['auto']):7.2f} ms, {auto:.2f} times ({min(ratios['auto']):.2f} to "
            f"{max(ratios['auto']):.2f}); people equal {same} of {count}; openvino {openvino:.2f} times",
            flush=True,
        )


if __name__ == "__main__":
    main()
