"""The network: residual blocks at strides 8, 16 and 32, one way back up to stride 8, two heads. Knows torch alone."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posert.export.nano import layout

GREY, SPREAD = 110.0, 64.0  # the input is (pixel - GREY) / SPREAD


def convolution(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, dilation: int = 1, active: bool = True
) -> nn.Sequential:
    """Convolution, batch normalisation and, if `active`, a ReLU; the kernel 8 of the stem pads 2."""
    padding = 2 if kernel == 8 else kernel // 2 * dilation
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if active else []))


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut; untrained, it hands on what it gets (values of at least 0)."""

    def __init__(self, channels: int, inner: int | None = None, dilation: int = 1) -> None:
        super().__init__()
        self.a = convolution(channels, inner or channels, dilation=dilation)
        self.b = convolution(inner or channels, channels, dilation=dilation, active=False)
        nn.init.zeros_(self.b[1].weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.b(self.a(x)), inplace=True)


class PoseNano(nn.Module):
    """BGR f32 [B,3,H,W] 0..255, sides multiples of 32 -> both stages' maps f32 [B,56,H/8,W/8].

    The stem goes straight to stride 4: feature maps at stride 2 would cost most of the time on a CPU. `blocks` are
    those at strides 8 and 16, `dilations` of each one at stride 32, `more` those of the refinement beyond the first;
    `widths` are the channels at strides 4, 8, 16 and 32. A network with more of them starts as the smaller one whose
    weights it is given (`grown`); checkpoints keep the `shape`.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (48, 80, 128, 160),
        features: int = 96,
        blocks: tuple[int, ...] = (1, 2),
        dilations: tuple[int, ...] = (1,),
        inner: int = 64,
        more: int = 0,
    ) -> None:
        super().__init__()
        self.shape: dict[str, Any] = {"widths": widths, "blocks": blocks, "dilations": dilations, "more": more}
        stem, s8, s16, s32 = widths
        self.stem = convolution(3, stem, 8, 4)
        self.s8 = nn.Sequential(convolution(stem, s8, 3, 2), *[Residual(s8) for _ in range(blocks[0])])
        self.s16 = nn.Sequential(convolution(s8, s16, 3, 2), *[Residual(s16) for _ in range(blocks[1])])
        self.s32 = nn.Sequential(convolution(s16, s32, 3, 2), *[Residual(s32, dilation=d) for d in dilations])
        self.l32 = convolution(s32, s16, 1, active=False)
        self.l16 = convolution(s16, features)
        self.u16 = convolution(features, features, 1, active=False)
        self.l8 = convolution(s8, features, 1, active=False)
        self.m8 = convolution(features, features)
        self.h1 = nn.Conv2d(features, layout.CHANNELS, 1)
        self.r0 = convolution(features + layout.CHANNELS, features, 1)
        self.r1 = Residual(features, inner)
        self.more = nn.Sequential(*[Residual(features, inner) for _ in range(more)])
        self.h2 = nn.Conv2d(features, layout.CHANNELS, 1)
        for head in (self.h1, self.h2):
            nn.init.normal_(head.weight, 0, 0.01)
            nn.init.zeros_(head.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.inside(x)[:2]

    def inside(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Both stages' maps, the features that the second is made of, and the stem's at stride 4."""
        stem = self.stem((x - GREY) * (1 / SPREAD))
        at8 = self.s8(stem)
        at16 = self.s16(at8)
        at32 = self.l32(self.s32(at16))
        up = self.u16(self.l16(F.relu(at16 + F.interpolate(at32, scale_factor=2.0, mode="nearest"))))
        features = self.m8(F.relu(self.l8(at8) + F.interpolate(up, scale_factor=2.0, mode="nearest")))
        first = self.h1(features)
        refined = self.more(self.r1(self.r0(torch.cat([features, first], 1))))
        return first, first + self.h2(refined), refined, stem


class Twice(PoseNano):
    """Looks at the picture and, with the same weights, at half of it: sides multiples of 64, maps as PoseNano's.

    A network of this size knows people of one range of sizes; large ones are small in the half. The first maps are the
    mean of both, the second what `both` makes of them and of the features that they were made of; untrained, the mean.
    """

    def __init__(self, **shape: Any) -> None:
        super().__init__(**shape)
        self.shape["twice"] = True
        features, inner = self.r0[0].out_channels, self.r1.a[0].out_channels
        self.both = nn.Sequential(convolution(2 * (features + layout.CHANNELS), features, 1), Residual(features, inner))
        self.h2_both = nn.Conv2d(features, layout.CHANNELS, 1)
        nn.init.zeros_(self.h2_both.weight)
        nn.init.zeros_(self.h2_both.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        _, whole, features, _ = self.inside(x)
        half = F.interpolate(
            torch.cat(self.inside(F.avg_pool2d(x, 2))[1:3], 1), scale_factor=2.0, mode="bilinear", align_corners=False
        )
        mean = (whole + half[:, : layout.CHANNELS]) * 0.5
        return mean, mean + self.h2_both(self.both(torch.cat([whole, features, half], 1)))

    def train(self, mode: bool = True) -> "Twice":
        """Batch normalisation that sees both sizes keeps its averages, which are of neither alone."""
        super().train(mode)
        for name, layer in self.named_modules():
            if isinstance(layer, nn.BatchNorm2d) and not name.startswith("both."):
                layer.eval()
        return self


def made(twice: bool = False, **shape: Any) -> PoseNano:
    """A new network of the shape that a checkpoint keeps."""
    return (Twice if twice else PoseNano)(**shape)


def grown(saved: dict[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """The state of a network that computes what a smaller one with the weights `saved` does, until it is trained.

    What only the larger one has keeps its own weights, and no channel of the smaller one looks at it. What only the
    saved one has is left out: a `Twice` becomes the network that it looks with.
    """
    state: dict[str, Tensor] = net.state_dict()
    for name, old in saved.items():
        if name not in state:
            continue
        new = state[name].clone()
        if new.ndim == 4:
            new[: old.shape[0], old.shape[1] :] = 0
        new[tuple(slice(size) for size in old.shape)] = old.to(new.dtype)
        state[name] = new
    return state
