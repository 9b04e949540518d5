"""The system `yolo`: person detectors for top-down models. YOLOX's ready-made ONNX, YOLOv3 from Darknet's files."""

from pathlib import Path
from typing import Any

from posert.errors import PosertError
from posert.export import onnx_fast, onnx_file
from posert.export.onnx_file import Exported, Reference
from posert.export.weights import Entry, beside
from posert.poses import Skeleton
from posert.runtime.spec import InputSpec, Stage

OPTIONS: frozenset[str] = frozenset()
STAND_INS: dict[str, str] = {}
ROUNDED: dict[str, str] = {}
OWN: dict[str, str] = {}
_NOBODY = Skeleton((), ())  # a detector has no keypoints
_HEADS = ("head32", "head16", "head8")  # in file order


def build(entry: Entry, path: Path, options: frozenset[str]) -> Exported:
    """A detector of the route `onnx` (YOLOX), or `darknet` (YOLOv3: the .weights `path`, and the .cfg of that name)."""
    return _yolox(entry, path) if entry.route == "onnx" else _yolov3(entry, path)


def _yolox(entry: Entry, path: Path) -> Exported:
    graph = onnx_file.load(path)
    side = graph.graph.input[0].type.tensor_type.shape.dim[-1].dim_value if graph.graph.input else 0
    rows = [dim.dim_value for dim in graph.graph.output[0].type.tensor_type.shape.dim] if graph.graph.output else []
    names = [value.name for value in (*graph.graph.input, *graph.graph.output)]
    if len(names) != 2 or side % 32 or not side or len(rows) != 3 or rows[1] != 21 * (side // 32) ** 2:
        raise PosertError(
            f"{path} is no YOLOX: it has the tensors {', '.join(names)}, the last one {rows}",
            "give an official yolox_*.onnx with one output of rows [1, cells, 85]",
        )
    # docs/parity.md 1.3: top left, grey 114, BGR 0..255
    image = InputSpec(
        name=names[0], layout="NCHW", dtype="float32", color="bgr", size_wh=(side, side), fit="corner",
        rounding="round", pad_value=(114.0, 114.0, 114.0),
    )  # fmt: skip
    stage = Stage("detector", "frame", image, {"grid_rows": names[1]}, "detect")
    onnx_fast.faster(graph)
    return onnx_file.exported(graph, entry, _NOBODY, stage)


def _yolov3(entry: Entry, path: Path) -> Exported:
    from posert.export.readers import torch_models

    net, size_wh = _darknet(entry, path)
    graph = torch_models.to_onnx(net, (1, 3, size_wh[1], size_wh[0]), "image", _HEADS)
    # docs/parity.md 1.2.2: cubic on whole grey levels, centred on grey 128, RGB 0..1
    image = InputSpec(
        name="image", layout="NCHW", dtype="float32", color="rgb", size_wh=size_wh, fit="letterbox",
        interpolation="cubic", rounding="round", pad_value=(128.0, 128.0, 128.0), std=(255.0, 255.0, 255.0),
    )  # fmt: skip
    stage = Stage("detector", "frame", image, {head: head for head in _HEADS}, "detect")
    return onnx_file.exported(graph, entry, _NOBODY, stage)


def _darknet(entry: Entry, path: Path) -> tuple[Any, tuple[int, int]]:
    """The network of a .weights file and its .cfg, and the width and height of its input, px."""
    from posert.export.readers import darknet

    cfg = beside(entry, path, ".cfg")
    if not cfg.is_file():
        raise PosertError(f"{path.name} needs its .cfg", f"put Darknet's {path.stem}.cfg into {path.parent}")
    options, layers = darknet.read_cfg(cfg.read_text(encoding="utf-8"))
    heads = [layer for kind, layer in layers if kind == "yolo"]
    if len(heads) != len(_HEADS):
        raise PosertError(f"{cfg} has {len(heads)} [yolo] layers, expected {len(_HEADS)}", "give yolov3-spp.cfg")
    net = darknet.Darknet(int(options.get("channels", "3")), layers)
    darknet.read_weights(net, path)
    return net.eval(), (int(options["width"]), int(options["height"]))


def reference(entry: Entry, path: Path) -> Reference:
    """The torch network."""
    from posert.export.readers import torch_models

    return torch_models.reference(_darknet(entry, path)[0], _HEADS)
