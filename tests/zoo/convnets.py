"""Image networks of the kinds that people train, as small as they can be."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

IMAGE = (3, 16, 16)


def conv(wide: int, high: int, size: int = 3, **more: Any) -> nn.Conv2d:
    return nn.Conv2d(wide, high, size, padding=size // 2, **more)


def conv_bn(
    wide: int, high: int, size: int = 3, act: type[nn.Module] = nn.ReLU, **more: Any
) -> Any:
    return nn.Sequential(conv(wide, high, size, bias=False, **more), nn.BatchNorm2d(high), act())


def head(wide: int, classes: int = 4) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(wide, classes))


class AlexNet(nn.Module):
    """Two convolutions with local response normalisation, two dense layers (Krizhevsky 2012)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv(3, 8, 5), conv(8, 12, 5)
        self.norm = nn.LocalResponseNorm(5)
        self.fc3, self.fc4 = nn.Linear(12 * 16, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(fn.max_pool2d(fn.relu(self.conv1(x)), 2))
        x = fn.max_pool2d(self.norm(fn.relu(self.conv2(x))), 2)
        return self.fc4(fn.dropout(fn.relu(self.fc3(x.flatten(1))), training=self.training))


def vgg(*, norm: bool) -> nn.Module:
    """Stacks of 3 x 3 convolutions and poolings (Simonyan 2014), with batch norm or without."""

    def block(wide: int, high: int) -> list[nn.Module]:
        return [conv(wide, high), *([nn.BatchNorm2d(high)] if norm else []), nn.ReLU()]

    return nn.Sequential(
        *block(3, 6), *block(6, 6), nn.MaxPool2d(2), *block(6, 8), *block(8, 8), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(8 * 16, 12), nn.ReLU(), nn.Dropout(), nn.Linear(12, 4),
    )  # fmt: skip


class Basic(nn.Module):
    """A basic residual block (He 2015), with a projection where the width changes."""

    def __init__(self, wide: int, high: int, stride: int = 1) -> None:
        super().__init__()
        self.a, self.b = conv(wide, high, stride=stride), conv(high, high)
        self.na, self.nb = nn.BatchNorm2d(high), nn.BatchNorm2d(high)
        self.skip: nn.Module = nn.Identity()
        if wide != high:
            self.skip = nn.Sequential(conv(wide, high, 1, stride=stride), nn.BatchNorm2d(high))

    def forward(self, x: Tensor) -> Tensor:
        y = self.nb(self.b(fn.relu(self.na(self.a(x)))))
        return fn.relu(y + self.skip(x))


class Bottleneck(nn.Module):
    """A residual block of 1 x 1, 3 x 3 and 1 x 1 convolutions."""

    def __init__(self, wide: int, mid: int, high: int) -> None:
        super().__init__()
        self.a, self.b, self.c = conv_bn(wide, mid, 1), conv_bn(mid, mid), conv(mid, high, 1)
        self.norm = nn.BatchNorm2d(high)
        self.skip = nn.Identity() if wide == high else conv(wide, high, 1)

    def forward(self, x: Tensor) -> Tensor:
        return fn.relu(self.norm(self.c(self.b(self.a(x)))) + self.skip(x))


def resnet_basic() -> nn.Module:
    return nn.Sequential(conv_bn(3, 6), Basic(6, 6), Basic(6, 8, 2), Basic(8, 8), head(8))


def resnet_bottleneck() -> nn.Module:
    return nn.Sequential(conv_bn(3, 6), Bottleneck(6, 4, 12), Bottleneck(12, 4, 12), head(12))


class DenseNet(nn.Module):
    """Norm, ReLU, convolution on all that came before, and a transition (Huang 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 6)
        self.n1, self.c1 = nn.BatchNorm2d(6), conv(6, 4)
        self.n2, self.c2 = nn.BatchNorm2d(10), conv(10, 4)
        self.nt, self.ct = nn.BatchNorm2d(14), conv(14, 7, 1)
        self.n3, self.c3 = nn.BatchNorm2d(7), conv(7, 4)
        self.nh, self.head = nn.BatchNorm2d(11), head(11)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cat([x, self.c1(fn.relu(self.n1(x)))], 1)
        x = torch.cat([x, self.c2(fn.relu(self.n2(x)))], 1)
        x = fn.avg_pool2d(self.ct(fn.relu(self.nt(x))), 2)
        x = torch.cat([x, self.c3(fn.relu(self.n3(x)))], 1)
        return self.head(fn.relu(self.nh(x)))


class Inception(nn.Module):
    """Branches of several kernel sizes and a pooled one beside each other (Szegedy 2014)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 6)
        self.one = conv_bn(6, 4, 1)
        self.three = nn.Sequential(conv_bn(6, 3, 1), conv_bn(3, 5))
        self.five = nn.Sequential(conv_bn(6, 2, 1), conv_bn(2, 3, 5))
        self.pool = conv_bn(6, 3, 1)
        self.last, self.head = conv_bn(15, 8), head(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        pooled = self.pool(fn.max_pool2d(x, 3, 1, 1))
        x = torch.cat([self.one(x), self.three(x), self.five(x), pooled], 1)
        return self.head(self.last(x))


class Inverted(nn.Module):
    """An inverted residual: wide, depthwise, narrow again, with squeeze-and-excite or without."""

    def __init__(
        self, wide: int, mid: int, high: int, act: type[nn.Module], *, squeeze: bool
    ) -> None:
        super().__init__()
        self.up = conv_bn(wide, mid, 1, act)
        self.deep = conv_bn(mid, mid, 3, act, groups=mid)
        self.squeeze = Squeeze(mid, 3) if squeeze else nn.Identity()
        self.down = nn.Sequential(conv(mid, high, 1, bias=False), nn.BatchNorm2d(high))
        self.same = wide == high

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(self.squeeze(self.deep(self.up(x))))
        return x + y if self.same else y


class Squeeze(nn.Module):
    """Squeeze-and-excite: each map times a number made of the means of all maps (Hu 2017)."""

    def __init__(self, wide: int, mid: int, gate: type[nn.Module] = nn.Sigmoid) -> None:
        super().__init__()
        self.fc1, self.fc2, self.gate = nn.Conv2d(wide, mid, 1), nn.Conv2d(mid, wide, 1), gate()

    def forward(self, x: Tensor) -> Tensor:
        means = fn.adaptive_avg_pool2d(x, 1)
        return x * self.gate(self.fc2(fn.relu(self.fc1(means))))


def mobilenet_v2() -> nn.Module:
    return nn.Sequential(
        conv_bn(3, 6, act=nn.ReLU6), Inverted(6, 12, 6, nn.ReLU6, squeeze=False),
        Inverted(6, 12, 8, nn.ReLU6, squeeze=False), conv_bn(8, 16, 1, nn.ReLU6), head(16),
    )  # fmt: skip


def mobilenet_v3() -> nn.Module:
    return nn.Sequential(
        conv_bn(3, 6, act=nn.Hardswish), Inverted(6, 12, 6, nn.Hardswish, squeeze=True),
        Inverted(6, 12, 8, nn.ReLU, squeeze=False), conv_bn(8, 16, 1, nn.Hardswish), head(16),
    )  # fmt: skip


def efficientnet() -> nn.Module:
    return nn.Sequential(
        conv_bn(3, 6, act=nn.SiLU), Inverted(6, 12, 6, nn.SiLU, squeeze=True),
        Inverted(6, 12, 6, nn.SiLU, squeeze=True), conv_bn(6, 16, 1, nn.SiLU), head(16),
    )  # fmt: skip


class Shuffle(nn.Module):
    """Half of the maps goes on untouched, then the halves are shuffled (Ma 2018)."""

    def __init__(self, half: int) -> None:
        super().__init__()
        self.a, self.b, self.c = (
            conv_bn(half, half, 1),
            conv(half, half, groups=half),
            conv_bn(half, half, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        kept, other = x.chunk(2, 1)
        x = torch.cat([kept, self.c(self.b(self.a(other)))], 1)
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def shufflenet() -> nn.Module:
    return nn.Sequential(conv_bn(3, 8), Shuffle(4), Shuffle(4), conv_bn(8, 12, 1), head(12))


class Fire(nn.Module):
    """A narrow layer read by two wide ones that lie beside each other (Iandola 2016)."""

    def __init__(self, wide: int, mid: int, high: int) -> None:
        super().__init__()
        self.squeeze, self.one, self.three = conv(wide, mid, 1), conv(mid, high, 1), conv(mid, high)

    def forward(self, x: Tensor) -> Tensor:
        x = fn.relu(self.squeeze(x))
        return torch.cat([fn.relu(self.one(x)), fn.relu(self.three(x))], 1)


def squeezenet() -> nn.Module:
    return nn.Sequential(
        conv(3, 6), nn.ReLU(), nn.MaxPool2d(2), Fire(6, 3, 4), Fire(8, 3, 5), nn.Dropout(),
        conv(10, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


class UNet(nn.Module):
    """Down and up again by transposed convolutions, with what was there before beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.mid = conv_bn(3, 4), conv_bn(4, 6), conv_bn(6, 8)
        self.up2, self.join2 = nn.ConvTranspose2d(8, 6, 2, 2), conv_bn(12, 6)
        self.up1, self.join1 = nn.ConvTranspose2d(6, 4, 2, 2), conv_bn(8, 4)
        self.last = conv(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.down1(x)
        two = self.down2(fn.max_pool2d(one, 2))
        x = self.mid(fn.max_pool2d(two, 2))
        x = self.join2(torch.cat([two, self.up2(x)], 1))
        return self.last(self.join1(torch.cat([one, self.up1(x)], 1)))


class ConvNeXtBlock(nn.Module):
    """A depthwise convolution, then a norm and two dense layers over channels (Liu 2022)."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.deep, self.norm = conv(wide, wide, 7, groups=wide), nn.LayerNorm(wide)
        self.up, self.down = nn.Linear(wide, 4 * wide), nn.Linear(4 * wide, wide)
        self.scale = nn.Parameter(torch.ones(wide))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.deep(x).permute(0, 2, 3, 1))
        y = self.scale * self.down(fn.gelu(self.up(y)))
        return x + y.permute(0, 3, 1, 2)


def convnext() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 4, 4), ConvNeXtBlock(6), ConvNeXtBlock(6), head(6))


def conv_relu_bn() -> nn.Module:
    """The norm behind the nonlinearity, where no exporter can fold it."""
    return nn.Sequential(
        conv(3, 6), nn.ReLU(), nn.BatchNorm2d(6), conv(6, 8), nn.ReLU(), nn.BatchNorm2d(8), head(8)
    )


def group_norm() -> nn.Module:
    return nn.Sequential(
        conv(3, 8),
        nn.GroupNorm(4, 8),
        nn.ReLU(),
        conv(8, 6),
        nn.GroupNorm(1, 6),
        nn.SiLU(),
        head(6),
    )  # fmt: skip


def prelu() -> nn.Module:
    return nn.Sequential(conv(3, 6), nn.PReLU(6), conv(6, 8), nn.PReLU(), head(8))


class GLU(nn.Module):
    """One half of a convolution opens the other."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 12), conv(6, 10), head(5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(fn.glu(self.b(fn.glu(self.a(x), 1)), 1))


def sound() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 6, 5, padding=2), nn.BatchNorm1d(6), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(6, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip


def volume() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(),
        nn.Linear(4 * 8, 6), nn.ReLU(), nn.Linear(6, 3),
    )  # fmt: skip
