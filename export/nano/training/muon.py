"""Muon: momentum whose update of a weight matrix is made orthogonal (K. Jordan 2024). Knows torch alone.

The update is scaled so that its size is that of AdamW's (0.2 * sqrt(longer side), arXiv 2502.16982), so
both optimisers share one learning rate.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # the quintic of the original publication
STEPS = 5


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest matrix with singular values near 1, in bfloat16, of f32 [rows,columns]."""
    a, b, c = NEWTON_SCHULZ
    x = matrix.bfloat16()
    turned = x.shape[0] > x.shape[1]
    x = x.T if turned else x
    x = x / (x.norm() + 1e-7)
    for _ in range(STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if turned else x


class Muon(torch.optim.Optimizer):
    """For weights with two or more axes; the first is the output."""

    def __init__(self, weights: Iterable[nn.Parameter], lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update from the gradients that stand."""
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                moving = state.setdefault("momentum", torch.zeros_like(weight))
                moving.lerp_(weight.grad, 1 - group["momentum"])
                update = weight.grad.lerp(moving, group["momentum"])  # Nesterov's look ahead
                matrix = update.reshape(len(update), -1)
                size = 0.2 * max(matrix.shape) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(orthogonal(matrix).to(weight.dtype).view_as(weight), alpha=-group["lr"] * size)
