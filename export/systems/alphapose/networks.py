"""AlphaPose's pose networks as torch modules with the official names of their parameters.

Owns the shapes of FastPose, FastPose-DUC, SimplePose and HRNet-W32. Knows no files.
Input f32 [N,3,256,192], output f32 [N,K,64,48].
"""

from typing import Any

import torch
from torch import Tensor, nn

_BLOCKS = {50: (3, 4, 6, 3), 152: (3, 8, 36, 3)}
_EXPANSION = 4
_DUC_STAGES = (4, 2, 1)  # convolutions of each stage of FastPose-DUC


def _conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


def _normed(inputs: int, outputs: int, size: int, stride: int = 1, *, relu: bool = False) -> list[nn.Module]:
    parts = [_conv(inputs, outputs, size, stride), nn.BatchNorm2d(outputs)]
    return [*parts, nn.ReLU(inplace=True)] if relu else parts


def _down(inputs: int, outputs: int, relu: bool) -> nn.Sequential:
    return nn.Sequential(*_normed(inputs, outputs, 3, 2, relu=relu))


class _Squeeze(nn.Module):  # type: ignore[misc]
    """Scales each channel by what the mean of all channels says."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(inplace=True), nn.Linear(channels, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(x.mean(dim=(2, 3)))[:, :, None, None]


class _Bottleneck(nn.Module):  # type: ignore[misc]
    def __init__(self, inputs: int, width: int, stride: int, squeeze: bool, unshuffle: bool) -> None:
        super().__init__()
        outputs = width * _EXPANSION
        self.conv1, self.bn1 = _conv(inputs, width, 1), nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride)
        if unshuffle and stride > 1:
            self.conv2 = nn.Sequential(nn.PixelUnshuffle(stride), _conv(width * stride**2, width, 3))
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _conv(width, outputs, 1), nn.BatchNorm2d(outputs)
        self.se = _Squeeze(outputs) if squeeze else nn.Identity()
        self.downsample = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(*_normed(inputs, outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.se(self.bn3(self.conv3(y))) + self.downsample(x))


class _ResNet(nn.Module):  # type: ignore[misc]
    """Features f32 [N,2048,H/32,W/32]."""

    def __init__(self, layers: int, squeeze: bool, unshuffle: bool = False) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = 64
        for stage, count in enumerate(_BLOCKS[layers]):
            width, stride = 64 << stage, 1 if stage == 0 else 2
            blocks = [_Bottleneck(inputs, width, stride, squeeze, unshuffle)]
            inputs = width * _EXPANSION
            blocks += [_Bottleneck(inputs, width, 1, False, False) for _ in range(count - 1)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class _Upsample(nn.Module):  # type: ignore[misc]
    """A convolution whose channels become 2x2 pixels."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.conv, self.bn = _conv(inputs, channels, 3), nn.BatchNorm2d(channels)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.shuffle(torch.relu(self.bn(self.conv(x))))


class FastPose(nn.Module):  # type: ignore[misc]
    """SE-ResNet, three pixel shuffles, two convolutions between them; `width` channels before the heads."""

    def __init__(self, keypoints: int, *, layers: int = 50, width: int = 128) -> None:
        super().__init__()
        self.preact = _ResNet(layers, squeeze=True)
        self.suffle1 = nn.PixelShuffle(2)
        self.duc1, self.duc2 = _Upsample(512, 1024), _Upsample(256, 4 * width)
        self.conv_out = nn.Conv2d(width, keypoints, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_out(self.duc2(self.duc1(self.suffle1(self.preact(x)))))


class FastPoseDuc(nn.Module):  # type: ignore[misc]
    """FastPose with several convolutions between the pixel shuffles.

    With `unshuffle` the backbone shrinks by folding 2x2 pixels into channels instead of by striding.
    """

    def __init__(self, keypoints: int, *, layers: int = 50, unshuffle: bool = True) -> None:
        super().__init__()
        self.preact = _ResNet(layers, squeeze=True, unshuffle=unshuffle)
        inputs = 2048
        for number, count in enumerate(_DUC_STAGES, 1):
            inputs //= 4
            parts = [nn.PixelShuffle(2)]
            for _ in range(count - 1):
                parts += _normed(inputs, inputs, 3, relu=True)
            parts += _normed(inputs, inputs * 2, 3, relu=True)
            setattr(self, f"duc{number}", nn.Sequential(*parts))
            inputs *= 2
        self.conv_out = nn.Conv2d(inputs, keypoints, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_out(self.duc3(self.duc2(self.duc1(self.preact(x)))))


class SimplePose(nn.Module):  # type: ignore[misc]
    """ResNet and three transposed convolutions."""

    def __init__(self, keypoints: int) -> None:
        super().__init__()
        self.preact = _ResNet(50, squeeze=False)
        parts: list[Any] = []
        for inputs in (2048, 256, 256):
            parts += [nn.ConvTranspose2d(inputs, 256, 4, 2, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU(inplace=True)]
        self.deconv_layers = nn.Sequential(*parts)
        self.final_layer = nn.Conv2d(256, keypoints, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.final_layer(self.deconv_layers(self.preact(x)))


class _Basic(nn.Module):  # type: ignore[misc]
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(width, width, 3), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(x + self.bn2(self.conv2(y)))


class _Exchange(nn.Module):  # type: ignore[misc]
    """Four blocks on each branch, then each of the first `outputs` branches is the sum of all, at its resolution."""

    def __init__(self, widths: list[int], outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(_Basic(width) for _ in range(4))) for width in widths)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_fuse(widths, i, j) for j in range(len(widths))) for i in range(outputs)
        )

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        x = [branch(own) for branch, own in zip(self.branches, x, strict=True)]
        out = []
        for i, row in enumerate(self.fuse_layers):
            others = (layer(x[j]) for j, layer in enumerate(row) if j != i)
            out.append(torch.relu(sum(others, start=x[i])))
        return out


def _fuse(widths: list[int], to: int, source: int) -> nn.Module:
    """From the resolution of branch `source` to that of branch `to`."""
    if source > to:
        up = nn.Upsample(scale_factor=2 ** (source - to), mode="nearest")
        return nn.Sequential(*_normed(widths[source], widths[to], 1), up)
    steps = [_down(widths[source], widths[source], relu=True) for _ in range(to - source - 1)]
    return nn.Sequential(*steps, _down(widths[source], widths[to], relu=False)) if to > source else nn.Identity()


class HighResolution(nn.Module):  # type: ignore[misc]
    """HRNet-W32: up to four branches of different resolution that exchange after every module."""

    def __init__(self, keypoints: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(3, 64, 3, 2), nn.BatchNorm2d(64)
        self.conv2, self.bn2 = _conv(64, 64, 3, 2), nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(*(_Bottleneck(64 if i == 0 else 256, 64, 1, False, False) for i in range(4)))
        widths = [32, 64, 128, 256]
        first = nn.Sequential(*_normed(256, widths[0], 3, relu=True))
        self.transition1 = nn.ModuleList([first, nn.Sequential(_down(256, widths[1], relu=True))])
        for stage, modules in ((2, 1), (3, 4), (4, 3)):
            exchanges = [_Exchange(widths[:stage], stage) for _ in range(modules)]
            if stage == 4:  # only the finest branch is used
                exchanges[-1] = _Exchange(widths, 1)
            setattr(self, f"stage{stage}", nn.Sequential(*exchanges))
            if stage < 4:
                new = nn.Sequential(_down(widths[stage - 1], widths[stage], relu=True))
                setattr(self, f"transition{stage}", nn.ModuleList([*(nn.Identity() for _ in range(stage)), new]))
        self.final_layer = nn.Conv2d(widths[0], keypoints, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer1(torch.relu(self.bn2(self.conv2(x))))
        branches = self.stage2([transition(x) for transition in self.transition1])
        branches = self.stage3([*branches, self.transition2[2](branches[-1])])
        branches = self.stage4([*branches, self.transition3[3](branches[-1])])
        return self.final_layer(branches[0])
