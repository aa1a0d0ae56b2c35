"""Networks small enough to say by hand what is to be found in them, and how they become files.

``NETS`` holds every one by name: those written with torch come first, those written node by node
are in :mod:`tests.handmade`.
"""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from filelock import FileLock
from torch import nn
from torch.nn import functional as fn

from frivkit.graph.model import Model
from frivkit.runtime.session import Device
from frivkit.runtime.shape_probe import infer_shapes_by_running
from frivkit_onnx.provider import load
from tests import handmade

BATCH = 3


def exported(
    net: nn.Module,
    *examples: tuple[int, ...],
    opset: int = 17,
    batch: int | None = None,
    dynamo: bool = False,
    free: Sequence[int] = (0,),
    outputs: Sequence[str] = ("y",),
    **more: Any,
) -> onnx.ModelProto:
    """Export a network in evaluation mode with inputs ``x`` (or ``x0``, ``x1``) of those shapes.

    Args:
        net: The network; its weights are drawn anew with a fixed seed.
        examples: The shape of one example of each input.
        opset: The opset to write.
        batch: A batch size that the file is to insist on.
        dynamo: Take the new exporter.
        free: Axes that stay open (none with ``batch``).
        outputs: Names of the outputs.
        more: Further arguments of ``torch.onnx.export``.
    """
    draw(net)
    names = ["x"] if len(examples) == 1 else [f"x{i}" for i in range(len(examples))]
    args = tuple(torch.zeros(batch or BATCH, *shape) for shape in examples)
    stream = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters deprecate themselves and each other
        if dynamo:
            axes = tuple({0: torch.export.Dim("N")} for _ in names)
            axes = (axes,) if isinstance(net, Wired) else axes  # its inputs are one *argument
            more |= {"dynamic_shapes": axes, "external_data": False, "verbose": False}
        elif batch is None:
            symbols = {0: "N", 2: "H", 3: "W"}
            sizes = {name: {axis: symbols[axis] for axis in free} for name in names}
            more |= {"dynamic_axes": sizes | {name: {0: "N"} for name in outputs}}
        torch.onnx.export(
            net.eval(),
            args,
            stream,
            dynamo=dynamo,
            opset_version=18 if dynamo else opset,
            input_names=names,
            output_names=list(outputs),
            **more,
        )
    return onnx.load_from_string(stream.getvalue())


def draw(net: nn.Module) -> None:
    """Draw all weights and statistics so that no unit is dead and no output is constant."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in net.state_dict().items():
        if not tensor.is_floating_point():
            continue
        fan_in = max(1, tensor[0].numel() if tensor.ndim > 1 else 4)
        noise = torch.randn(tensor.shape, generator=generator) * fan_in**-0.5
        tensor.copy_(noise.abs() + 0.5 if name.endswith("running_var") else noise)


class Wired(nn.Module):
    """Layers by name, and a function that wires them."""

    def __init__(self, wire: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.wire = wire

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.wire(self, *inputs)


def conv(wide: int, high: int, size: int = 3, **more: Any) -> nn.Conv2d:
    return nn.Conv2d(wide, high, size, padding=size // 2, **more)


def head(wide: int, classes: int = 3) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(wide, classes))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))


def cnn() -> nn.Module:
    return nn.Sequential(
        conv(3, 4), nn.ReLU(), nn.MaxPool2d(2), conv(4, 5), nn.ReLU(), nn.Flatten(),
        nn.Linear(5 * 16, 3),
    )  # fmt: skip


def pool_first() -> nn.Module:
    return nn.Sequential(conv(3, 4), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 3))


def norm_last() -> nn.Module:
    return nn.Sequential(
        conv(3, 4), nn.ReLU(), nn.BatchNorm2d(4), conv(4, 5), nn.ReLU(), nn.BatchNorm2d(5), head(5)
    )


class Block(nn.Module):
    """A residual block, with a projection where the width changes."""

    def __init__(self, wide: int, high: int) -> None:
        super().__init__()
        self.a, self.b = conv(wide, high), conv(high, high)
        self.norm = nn.BatchNorm2d(high)
        self.skip = conv(wide, high, 1) if wide != high else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return fn.relu(self.norm(self.b(fn.relu(self.a(x)))) + self.skip(x))


def residual() -> nn.Module:
    return nn.Sequential(conv(3, 4), nn.ReLU(), Block(4, 4), Block(4, 6), Block(6, 6), head(6))


def preact() -> nn.Module:
    def wire(net: Any, x: torch.Tensor) -> torch.Tensor:
        x = net.stem(x)
        x = x + net.b(fn.relu(net.a(fn.relu(net.n1(x)))))
        x = x + net.d(fn.relu(net.c(fn.relu(net.n2(x)))))
        return net.head(fn.relu(net.n3(x)))

    return Wired(
        wire, stem=conv(3, 4), n1=nn.BatchNorm2d(4), a=conv(4, 5), b=conv(5, 4),
        n2=nn.BatchNorm2d(4), c=conv(4, 6), d=conv(6, 4), n3=nn.BatchNorm2d(4), head=head(4),
    )  # fmt: skip


def dense() -> nn.Module:
    """Concatenations of concatenations: every layer reads all before it."""

    def wire(net: Any, x: torch.Tensor) -> torch.Tensor:
        x = fn.relu(net.stem(x))
        x = torch.cat([x, fn.relu(net.a(x))], 1)
        x = torch.cat([x, fn.relu(net.b(x))], 1)
        return net.head(x)

    return Wired(wire, stem=conv(3, 4), a=conv(4, 2), b=conv(6, 3), head=head(9))


def inception() -> nn.Module:
    def wire(net: Any, x: torch.Tensor) -> torch.Tensor:
        x = fn.relu(net.stem(x))
        parts = [fn.relu(net.a(x)), fn.relu(net.c(fn.relu(net.b(x)))), fn.max_pool2d(x, 3, 1, 1)]
        return net.head(fn.relu(net.out(torch.cat(parts, 1))))

    return Wired(
        wire, stem=conv(3, 4), a=conv(4, 2, 1), b=conv(4, 3, 1), c=conv(3, 5), out=conv(11, 6),
        head=head(6),
    )  # fmt: skip


def concat_add() -> nn.Module:
    def wire(net: Any, x: torch.Tensor) -> torch.Tensor:
        joined = torch.cat([fn.relu(net.a(x)), fn.relu(net.b(x))], 1)
        return net.head(joined + fn.relu(net.c(x)))

    return Wired(wire, a=conv(3, 2), b=conv(3, 3), c=conv(3, 5), head=head(5))


def pyramid() -> nn.Module:
    """Spatial pyramid pooling: one tensor, pooled and not, beside itself."""

    def wire(net: Any, x: torch.Tensor) -> torch.Tensor:
        x = fn.relu(net.stem(x))
        pools = [fn.max_pool2d(x, size, 1, size // 2) for size in (3, 5)]
        return net.head(fn.relu(net.out(torch.cat([x, *pools], 1))))

    return Wired(wire, stem=conv(3, 4), out=conv(12, 5, 1), head=head(5))


def squeeze_excite() -> nn.Module:
    def wire(net: Any, x: torch.Tensor) -> torch.Tensor:
        x = fn.relu(net.stem(x))
        gate = torch.sigmoid(net.up(fn.relu(net.down(fn.adaptive_avg_pool2d(x, 1)))))
        return net.head(fn.relu(net.out(x * gate)))

    return Wired(
        wire, stem=conv(3, 4), down=conv(4, 2, 1), up=conv(2, 4, 1), out=conv(4, 5), head=head(5)
    )


def gated() -> nn.Module:
    def wire(net: Any, x: torch.Tensor) -> torch.Tensor:
        return net.head(net.a(x) * torch.sigmoid(net.b(x)))

    return Wired(wire, a=conv(3, 4), b=conv(3, 4), head=head(4))


def branched() -> nn.Module:
    """Three branches into one sum, the third without weights."""

    def wire(net: Any, x: torch.Tensor) -> torch.Tensor:
        x = fn.relu(net.stem(x))
        return net.head(fn.relu(net.a(x) + net.b(x) + x))

    return Wired(wire, stem=conv(3, 4), a=conv(4, 4), b=conv(4, 4, 1), head=head(4))


def hourglass() -> nn.Module:
    """Down, up again by copies of places, and what was there before beside it."""

    def wire(net: Any, x: torch.Tensor) -> torch.Tensor:
        x = fn.relu(net.a(x))
        low = fn.relu(net.b(fn.max_pool2d(x, 2)))
        up = fn.interpolate(low, scale_factor=2.0, mode="nearest")
        return net.head(fn.relu(net.c(torch.cat([up, x], 1))))

    return Wired(wire, a=conv(3, 4), b=conv(4, 5), c=conv(9, 6), head=head(6))


def separable() -> nn.Module:
    return nn.Sequential(
        conv(3, 4), nn.ReLU(), conv(4, 4, groups=4), nn.ReLU6(), conv(4, 5, 1), nn.ReLU6(), head(5)
    )


class InPieces(nn.Module):
    """hard-swish as several nodes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * fn.relu6(x + 3) / 6


class SigmoidInPieces(nn.Module):
    """A sigmoid as four nodes in a row."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1 / (1 + torch.exp(-x))


def activations() -> nn.Module:
    return nn.Sequential(
        conv(3, 4), nn.SiLU(), conv(4, 5), nn.GELU(), conv(5, 4), nn.GELU("tanh"), conv(4, 3),
        InPieces(), conv(3, 4), nn.PReLU(4), conv(4, 5), nn.Mish(), conv(5, 4), nn.ELU(),
        conv(4, 3), SigmoidInPieces(), head(3),
    )  # fmt: skip


def local_norm() -> nn.Module:
    return nn.Sequential(
        conv(3, 4), nn.ReLU(), nn.LocalResponseNorm(3), conv(4, 5), nn.ReLU(), head(5)
    )


def tokens() -> nn.Module:
    def wire(net: Any, x: torch.Tensor) -> torch.Tensor:
        return net.c(fn.layer_norm(net.b(fn.gelu(net.a(x))), (4,)).mean(1))

    return Wired(wire, a=nn.Linear(6, 5), b=nn.Linear(5, 4), c=nn.Linear(4, 3))


def channels_last() -> nn.Module:
    def wire(net: Any, x: torch.Tensor) -> torch.Tensor:
        return net.fc(fn.relu(net.a(x)).permute(0, 2, 3, 1).flatten(1))

    return Wired(wire, a=conv(3, 4), fc=nn.Linear(4 * 64, 3))


def shuffled() -> nn.Module:
    def wire(net: Any, x: torch.Tensor) -> torch.Tensor:
        x = fn.relu(net.a(x))
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return net.head(fn.relu(net.b(x)))

    return Wired(wire, a=conv(3, 4), b=conv(4, 6, groups=2), head=head(6))


def sizes_first() -> nn.Module:
    """Reads its batch size from the input, long before it is used."""

    def wire(net: Any, x: torch.Tensor) -> torch.Tensor:
        n = x.shape[0]
        x = fn.max_pool2d(fn.relu(net.a(x)), 2)
        return net.c(fn.relu(net.b(x.view(n, -1))))

    return Wired(wire, a=conv(3, 4), b=nn.Linear(64, 5), c=nn.Linear(5, 3))


def siamese() -> nn.Module:
    def wire(net: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return net.out(torch.abs(fn.relu(net.a(x)) - fn.relu(net.a(y))))

    return Wired(wire, a=nn.Linear(6, 5), out=nn.Linear(5, 3))


def two_inputs() -> nn.Module:
    def wire(net: Any, image: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        seen = fn.relu(net.a(image)).mean((2, 3))
        return net.c(fn.relu(torch.cat([seen, torch.tanh(net.b(row))], 1)))

    return Wired(wire, a=conv(3, 4), b=nn.Linear(6, 5), c=nn.Linear(9, 3))


def recurrent() -> nn.Module:
    def wire(net: Any, x: torch.Tensor) -> torch.Tensor:
        states, _ = net.cell(fn.relu(net.a(x)))
        return net.out(states[:, -1])

    cell = nn.LSTM(5, 4, batch_first=True)
    return Wired(wire, a=nn.Linear(6, 5), cell=cell, out=nn.Linear(4, 3))


def transposed() -> nn.Module:
    return nn.Sequential(
        nn.ConvTranspose2d(3, 4, 2, stride=2), nn.ReLU(),
        nn.ConvTranspose2d(4, 6, 3, groups=2), nn.ReLU(), head(6),
    )  # fmt: skip


def grouped() -> nn.Module:
    return nn.Sequential(
        conv(3, 4), nn.ReLU(), conv(4, 6, groups=2), nn.ReLU(), conv(6, 12, groups=6), nn.ReLU(),
        head(12),
    )  # fmt: skip


def sound() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 4, 3), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(4, 5, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(5 * 5, 3),
    )  # fmt: skip


def volume() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 4, 2), nn.ReLU(), nn.AvgPool3d(2), nn.Flatten(), nn.Linear(4 * 8, 3)
    )


def group_norm() -> nn.Module:
    return nn.Sequential(conv(3, 4), nn.GroupNorm(2, 4), nn.ReLU(), conv(4, 5), nn.ReLU(), head(5))


def two_heads() -> nn.Module:
    def wire(net: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = fn.relu(net.trunk(x))
        first = net.a(x)
        return first, net.c(fn.relu(net.b(first)))

    return Wired(
        wire, trunk=nn.Linear(6, 5), a=nn.Linear(5, 4), b=nn.Linear(4, 3), c=nn.Linear(3, 2)
    )


def ends_in_relu() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3), nn.ReLU())


def ends_in_softmax() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3), nn.Softmax(1))


def ends_in_pooling() -> nn.Module:
    return nn.Sequential(conv(3, 4), nn.ReLU(), conv(4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Attention(nn.Module):
    """A transformer's layer: the batch moves to axis 1 inside, as torch writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(4, 2, batch_first=True)
        self.n1, self.n2 = nn.LayerNorm(4), nn.LayerNorm(4)
        self.up, self.down, self.out = nn.Linear(4, 6), nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.n1(x + self.attend(x, x, x, need_weights=False)[0])
        x = self.n2(x + self.down(fn.relu(self.up(x))))
        return self.out(x[:, 0])


def windows() -> nn.Module:
    """Cut maps into windows that stand beside the examples on axis 0, as shifted windows do."""

    def wire(net: Any, x: torch.Tensor) -> torch.Tensor:
        n = x.shape[0]
        x = fn.relu(net.a(x)).permute(0, 2, 3, 1)
        x = x.reshape(n, 2, 4, 2, 4, 4).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, 4)
        x = fn.relu(net.b(x)).mean(1).reshape(n, 4, 5)
        return net.c(x.mean(1))

    return Wired(wire, a=conv(3, 4), b=nn.Linear(4, 5), c=nn.Linear(5, 3))


def mixer() -> nn.Module:
    """One dense layer over places, then one over channels."""

    def wire(net: Any, x: torch.Tensor) -> torch.Tensor:
        x = fn.relu(net.stem(x))
        x = x + net.down(fn.relu(net.up(x.transpose(1, 2)))).transpose(1, 2)
        return net.out(x.mean(1))

    return Wired(
        wire, stem=nn.Linear(6, 4), up=nn.Linear(5, 7), down=nn.Linear(7, 5), out=nn.Linear(4, 3)
    )


IMAGE = (3, 8, 8)
SMALL = (3, 4, 4)
TORCH: dict[str, Callable[[], onnx.ModelProto]] = {
    "mlp": lambda: exported(mlp(), (6,)),
    "cnn": lambda: exported(cnn(), IMAGE),
    "cnn by dynamo": lambda: exported(cnn(), IMAGE, dynamo=True),
    "cnn of opset 9": lambda: exported(cnn(), IMAGE, opset=9),
    "cnn with weights as inputs": lambda: exported(cnn(), IMAGE, keep_initializers_as_inputs=True),
    "cnn of one": lambda: exported(cnn(), IMAGE, batch=1),
    "cnn of four": lambda: exported(cnn(), IMAGE, batch=4),
    "cnn of any size": lambda: exported(
        nn.Sequential(conv(3, 4), nn.ReLU(), conv(4, 5), nn.ReLU(), head(5)), IMAGE, free=(0, 2, 3)
    ),
    "pool first": lambda: exported(pool_first(), IMAGE),
    "norm last": lambda: exported(norm_last(), SMALL),
    "residual": lambda: exported(residual(), SMALL),
    "residual by dynamo": lambda: exported(residual(), SMALL, dynamo=True),
    "preact": lambda: exported(preact(), SMALL),
    "dense": lambda: exported(dense(), SMALL),
    "inception": lambda: exported(inception(), SMALL),
    "concat add": lambda: exported(concat_add(), SMALL),
    "pyramid": lambda: exported(pyramid(), SMALL),
    "squeeze excite": lambda: exported(squeeze_excite(), SMALL),
    "gated": lambda: exported(gated(), SMALL),
    "branched": lambda: exported(branched(), SMALL),
    "hourglass": lambda: exported(hourglass(), SMALL),
    "separable": lambda: exported(separable(), SMALL),
    "activations": lambda: exported(activations(), SMALL),
    "activations by dynamo": lambda: exported(activations(), SMALL, dynamo=True),
    "local norm": lambda: exported(local_norm(), SMALL),
    "tokens": lambda: exported(tokens(), (5, 6)),
    "tokens by dynamo": lambda: exported(tokens(), (5, 6), dynamo=True),
    "channels last": lambda: exported(channels_last(), IMAGE),
    "shuffled": lambda: exported(shuffled(), SMALL),
    "sizes first": lambda: exported(sizes_first(), IMAGE),
    "siamese": lambda: exported(siamese(), (6,), (6,)),
    "two inputs": lambda: exported(two_inputs(), SMALL, (6,)),
    "recurrent": lambda: exported(recurrent(), (4, 6)),
    "transposed": lambda: exported(transposed(), SMALL),
    "grouped": lambda: exported(grouped(), SMALL),
    "sound": lambda: exported(sound(), (2, 16)),
    "volume": lambda: exported(volume(), (1, 5, 5, 5)),
    "group norm": lambda: exported(group_norm(), SMALL),
    "group norm by dynamo": lambda: exported(group_norm(), SMALL, dynamo=True),
    "two heads": lambda: exported(two_heads(), (6,), outputs=("first", "second")),
    "ends in relu": lambda: exported(ends_in_relu(), (6,)),
    "ends in softmax": lambda: exported(ends_in_softmax(), (6,)),
    "ends in pooling": lambda: exported(ends_in_pooling(), SMALL),
    "attention": lambda: exported(Attention(), (5, 4)),
    "windows": lambda: exported(windows(), IMAGE),
    "mixer": lambda: exported(mixer(), (5, 6)),
}
NETS: Mapping[str, Callable[[], onnx.ModelProto]] = {**TORCH, **handmade.NETS}


@cache
def network(name: str) -> onnx.ModelProto:
    """Return a network by name, exported once a run; who changes it copies it first."""
    folder = os.environ.get("FRIVKIT_TEST_EXPORTS")  # the processes of a run share it
    if folder is None or name not in TORCH:
        return NETS[name]()
    path = Path(folder) / f"{name}.onnx"
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            onnx.save(TORCH[name](), path)
    return onnx.load(path)


def opened(proto: onnx.ModelProto, path: Path, **options: str) -> Model:
    """Write a network to a file, read it as the command line does and complete its shapes."""
    path.write_bytes(proto.SerializeToString())
    return infer_shapes_by_running(load(path, options), Device(threads=1))


def examples(model: Model, count: int, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Draw normal inputs; sizes that the model leaves open become 8."""
    generator = np.random.default_rng(seed)
    return {
        spec.name: generator.standard_normal((count, *(size or 8 for size in spec.shape))).astype(
            spec.dtype
        )
        for spec in model.inputs
    }
