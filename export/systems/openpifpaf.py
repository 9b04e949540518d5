"""The system `openpifpaf`: networks with CIF and CAF heads, from OpenPifPaf's own checkpoints, for any skeleton.

Needs the package `openpifpaf`, of which only `network` and `headmeta` are imported: its C++ extension is not needed.
"""

import importlib
import importlib.util
import logging
import pickle
import re
import sys
import types
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from posert.errors import PosertError
from posert.export import onnx_file
from posert.export.onnx_file import Exported, Reference
from posert.export.readers import torch_models
from posert.export.weights import Entry
from posert.poses import Skeleton
from posert.runtime.spec import InputSpec, Stage
from posert.skeletons import mirrored

_LOG = logging.getLogger("posert")
OPTIONS: frozenset[str] = frozenset()
STAND_INS: dict[str, str] = {}
ROUNDED: dict[str, str] = {}
OWN: dict[str, str] = {}
_HEADS = "openpifpaf.headmeta"
_SAMPLE = (2, 3, 97, 129)  # any sides of 16 k + 1
_LEAST_EPSILON = 1e-3  # OpenPifPaf raises every BatchNorm's epsilon to this after loading
_IMAGE = InputSpec(
    name="image", layout="NCHW", dtype="float32", color="rgb", size_wh=(0, 0), fit="center", multiple_of=16,
    multiple_plus=1, interpolation="linear", rounding="round", pad_value=(124.0, 116.0, 104.0),
    mean=(0.485 * 255, 0.456 * 255, 0.406 * 255), std=(0.229 * 255, 0.224 * 255, 0.225 * 255),
)  # fmt: skip


def build(entry: Entry, path: Path, options: frozenset[str]) -> Exported:
    """A network of the route `checkpoint`, free in batch, height and width.

    The checkpoint is a pickle. Where it holds more than a network it runs code when it is loaded, which is said before;
    so it has been checked against a whole hash, or somebody has taken it unpinned.

    Raises:
        PosertError: openpifpaf is not installed, or the file is no checkpoint with CIF and CAF heads.
    """
    net, cif, caf = load(path)
    graph = torch_models.to_onnx(net, _SAMPLE, _IMAGE.name, ["cif", "caf"], free_sides=True)
    # A network of stride 32 (MobileNetV2) loses the margin of other sides, and its cells no longer divide the input.
    image = replace(_IMAGE, multiple_of=max(_IMAGE.multiple_of, int(cif.base_stride)))
    stage = Stage("pose", "frame", image, {"cif": "cif", "caf": "caf"}, "cifcaf")
    onnx_file.input_shape(graph, ["batch", 3, "height", "width"])
    return onnx_file.exported(graph, entry, skeleton(cif, caf), stage)


def reference(entry: Entry, path: Path) -> Reference:
    """The torch network."""
    return torch_models.reference(load(path)[0], ["cif", "caf"])


def skeleton(cif: Any, caf: Any) -> Skeleton:
    """Ours from the metadata of the two heads; theirs counts keypoints from 1."""
    names = tuple(str(name) for name in cif.keypoints)
    edges = tuple((int(a) - 1, int(b) - 1) for a, b in caf.skeleton)
    return Skeleton(names, edges, tuple(float(sigma) for sigma in cif.sigmas), mirrored(names))


class _Fields(torch.nn.Module):  # type: ignore[misc]
    """The network with its CIF and CAF outputs alone."""

    def __init__(self, net: Any, cif: int, caf: int) -> None:
        super().__init__()
        self.net, self.cif, self.caf = net, cif, caf

    def forward(self, image: Any) -> tuple[Any, Any]:
        heads = self.net(image)
        return heads[self.cif], heads[self.caf]


def load(path: Path) -> tuple[Any, Any, Any]:
    """The network of a checkpoint (torch module: image -> cif, caf) and its heads' metadata; raises as `build`."""
    network = import_network()
    try:
        saved = _unpickled(path)
    except Exception as error:  # pickle's, zipfile's and torch's own kinds, and whatever the pickled code raises
        raise PosertError(
            f"{path} is no checkpoint that this openpifpaf can load: {str(error).splitlines()[0][:200]}",
            "give the official file, or one saved by openpifpaf's trainer",
        ) from None
    net = saved.get("model") if isinstance(saved, dict) else saved
    heads = getattr(net, "head_nets", None)
    if not isinstance(net, torch.nn.Module) or heads is None:
        raise PosertError(
            f"{path} is no OpenPifPaf network: it holds a {type(net).__name__}", "give a file saved by its trainer"
        )
    kinds = [type(head.meta).__name__ for head in heads]
    if missing := [kind for kind in ("Cif", "Caf") if kind not in kinds]:
        raise PosertError(
            f"{path} has no {' and no '.join(missing)} head; it has {', '.join(kinds) or 'none'}",
            "posert decodes CIF and CAF heads; other heads of a file are left aside",
        )
    tracking = getattr(network, "TrackingBase", ())
    if any(isinstance(module, tracking) for module in net.modules()):
        raise PosertError(
            f"{path} is a tracking network: it remembers the frame before, which an ONNX graph of one frame cannot",
            "export a network for single frames; posert infer `track` gives ids with any of them",
        )
    network.model_migration.model_migration(net)  # files of older versions lack fields
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = max(module.eps, _LEAST_EPSILON)
    for name in ("CompositeField3", "CompositeField4"):  # in-place writes do not survive the export
        if kind := getattr(network.heads, name, None):
            kind.inplace_ops = False
    at = kinds.index("Cif"), kinds.index("Caf")
    return _Fields(net.eval(), *at).eval(), heads[at[0]].meta, heads[at[1]].meta


def _unpickled(path: Path) -> Any:
    """What a file of torch.save holds, by classes of networks alone; one that asks for more runs code of its own."""
    try:
        with torch.serialization.safe_globals(_network_classes()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked is None:
            raise
    _LOG.warning("%s is more than a network: it runs code as it is loaded, %a", path, asked[1])
    return torch.load(path, map_location="cpu", weights_only=False)


def _network_classes() -> list[tuple[type, str]]:
    """The layers of torch, torchvision and openpifpaf, and the metadata of heads, under every name they have there."""
    homes = ("torch.nn.modules.", "torchvision.models.", "torchvision.ops.", "openpifpaf.network.", _HEADS)
    return [
        (kind, f"{home}.{name}")
        for home, module in list(sys.modules.items())
        if home.startswith(homes)
        for name, kind in vars(module).items()
        if isinstance(kind, type) and (issubclass(kind, torch.nn.Module) or kind.__module__ == _HEADS)
    ]


def import_network() -> Any:
    """The module `openpifpaf.network`, without running the package's own `__init__` (which loads its C++ extension).

    Raises:
        PosertError: openpifpaf, or something that it needs, is not installed.
    """
    if "openpifpaf" not in sys.modules:
        found = importlib.util.find_spec("openpifpaf")
        if found is None or not found.submodule_search_locations:
            raise PosertError(
                "the package openpifpaf, which its checkpoints need to be loaded, is not installed",
                "pip install --no-deps --no-build-isolation openpifpaf==0.13.11 (and torchvision, pillow)",
            )
        bare = types.ModuleType("openpifpaf")
        bare.__path__ = list(found.submodule_search_locations)
        sys.modules["openpifpaf"] = bare
    if "torchvision" not in sys.modules and not torch.cuda.is_available():
        # torchvision built for CUDA does not import beside a CPU torch unless these two are known; nobody calls them
        arguments = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for name in ("nms", "qnms"):
            with suppress(RuntimeError):  # this torchvision has them itself
                torch.library.define(f"torchvision::{name}", arguments)
    try:
        importlib.import_module(_HEADS)
        return importlib.import_module("openpifpaf.network")
    except ImportError as error:
        raise PosertError(f"openpifpaf cannot be imported: {error}", "pip install torchvision pillow") from None
