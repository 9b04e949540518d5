"""The files that the documents name, small and made here; and a mirror of the weights that their conversions take."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import media
import pytest
import recordings
import tiny_parts
from caffe_files import prototxt, weights, write_caffemodel
from pifpaf_files import checkpoint

from posert.export.nano import clip

ANNOTATIONS = (
    '{"images":[{"id":1,"file_name":"1.jpg","width":64,"height":48}],"categories":[{"id":1,"name":"person"}],'
    '"annotations":[{"id":1,"image_id":1,"category_id":1,"iscrowd":0,"area":400,"bbox":[10,10,20,20],'
    '"num_keypoints":17,"keypoints":[' + ",".join(["20,20,2"] * 17) + "]}]}"
)


def _people(path: Path) -> None:
    """A second of the drawn clip, in which somebody falls."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), clip.FPS, (clip.WIDTH, clip.HEIGHT))
    for index in range(84, 84 + clip.FPS):
        writer.write(clip.render(index)[0])
    writer.release()


def pages_files(folder: Path) -> None:
    """Videos, pictures, results, raw frames and annotations, as the documents call them."""
    _people(folder / "walk.mp4")
    for part in ("videos", "features", "images"):
        (folder / part).mkdir()
    for name in ("a.mp4", "b.mp4"):
        media.video(folder / "videos" / name, count=20)
    for name in ("photo.jpg", "images/1.jpg"):
        cv2.imwrite(str(folder / name), media.numbered(3))
    tiny_parts.hands(folder / "my_hands.onnx")
    for name in ("walk.jsonl", "features/walk.mp4.jsonl"):
        recordings.walkers(folder / name, "walk.mp4", frames=40)
    (folder / "frames.rgb").write_bytes(bytes(64 * 48 * 3 * 4))
    (folder / "person_keypoints.json").write_text(ANNOTATIONS)


def _small_body_25(path: Path) -> str:
    """Random weights, and a deploy file beside them with two layers in place of BODY_25's hundreds; its MD5."""
    halved = {"pool": "MAX", "kernel_size": 2, "stride": 2}
    pools = [[f"p{i}", "Pooling", [f"p{i - 1}"], [f"p{i}"], halved] for i in (1, 2, 3)]
    first = ["p0", "Convolution", ["image"], ["p0"], {"num_output": 8, "pad": 1, "kernel_size": 3}]
    last = ["net_output", "Convolution", ["p3"], ["net_output"], {"num_output": 78, "pad": 0, "kernel_size": 1}]
    topology = {"input": "image", "input_dim": [1, 3, 16, 16], "layers": [first, *pools, last]}
    write_caffemodel(path.with_suffix(".caffemodel"), weights(topology))
    path.with_suffix(".prototxt").write_text(prototxt(topology))
    return hashlib.md5(path.with_suffix(".caffemodel").read_bytes(), usedforsecurity=False).hexdigest()


def own_checkpoint(folder: Path) -> None:
    """Writes mine.pkl as OpenPifPaf's trainer would, with random weights; skips where its package is not installed."""
    from posert.errors import PosertError
    from posert.export.systems.openpifpaf import import_network

    try:
        made = import_network()
    except PosertError:
        pytest.skip("needs OpenPifPaf's Python sources (`make test-export`)")
    made.basenetworks.MobileNetV3.pretrained = False  # or the factory fetches ImageNet's weights
    checkpoint(made, "mobilenetv3small", folder).rename(folder / "mine.pkl")


def conversions(folder: Path, assets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The official files where the documents have them, and a mirror for those that have names."""
    from posert.export.weights import entries, find

    models, mirror = assets / "models", folder / "mirror"
    mirror.mkdir()
    int8 = "movenet_singlepose_lightning_4_int8.tflite"
    shutil.copy(models / int8, mirror / "movenet_single_pose_lightning_ptq.tflite")
    for file in (
        *(models / "movenet_tfjs").iterdir(),
        *(models / "mediapipe_tfjs").iterdir(),
        models / "yolox_nano.onnx",
    ):
        shutil.copy(file, mirror)
    shutil.copy(folder / "walk.mp4", folder / "dance.mp4")
    shutil.copy(models / "tfpose_mobilenet_v2_small_graph_opt.pb", folder / "graph_opt.pb")
    shutil.copy(models / "openvino_human_pose_estimation_0001_w8.onnx", folder / "human-pose-estimation-0001.onnx")
    digest = _small_body_25(folder / "pose_iter_584000")
    rows = entries() | {"openpose-body25": replace(find("openpose-body25"), md5=digest)}
    monkeypatch.setattr("posert.export.weights.entries", lambda: rows)
    monkeypatch.setenv("POSERT_MIRROR", str(mirror))
