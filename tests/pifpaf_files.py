"""OpenPifPaf checkpoints for tests: networks of the package's own factory, with random weights."""

from pathlib import Path
from typing import Any

NAMES = ["nose", "left_hand", "right_hand", "left_foot", "right_foot"]
EDGES = [(1, 2), (1, 3), (4, 1), (5, 4)]  # from 1, as openpifpaf counts


def checkpoint(network: Any, base: str, folder: Path, parts: int = 5) -> Path:
    """A file as openpifpaf's trainer writes it, the BatchNorms' statistics and the heads' weights random."""
    import torch
    from openpifpaf import headmeta

    torch.manual_seed(0)
    names = NAMES if parts == 5 else [f"part_{k}" for k in range(parts)]
    edges = EDGES if parts == 5 else [(k, k + 1) for k in range(1, parts)]
    sigmas = [0.02 + 0.01 * (k % 7) for k in range(parts)]
    heads = [
        headmeta.Cif("cif", "synthetic", keypoints=names, sigmas=sigmas),
        headmeta.Caf("caf", "synthetic", keypoints=names, sigmas=sigmas, pose=None, skeleton=edges),
    ]
    for head in heads:
        head.upsample_stride = 2
    network.Factory.base_name, network.Factory.checkpoint = base, None
    made = network.Factory().from_scratch(head_metas=heads)
    net = made[0] if isinstance(made, tuple) else made
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.eps = 1e-5  # as a file holds it before OpenPifPaf raises it
    path = folder / f"{base}.pkl"
    torch.save({"model": net, "epoch": 1, "meta": {"args": {}}}, path)
    return path
