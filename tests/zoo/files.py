"""The networks of the zoo as files, by every exporter that people use."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from frivkit.graph.model import Model
from frivkit.graph.sites.batch_first import move_batch_first
from frivkit.runtime.session import Device
from frivkit.runtime.shape_probe import infer_shapes_by_running
from frivkit_onnx.provider import load
from tests.nets import draw
from tests.zoo import convnets, sequences


@dataclass(frozen=True, slots=True)
class Known:
    """A network and what it takes.

    Attributes:
        make: Builds it.
        inputs: The shape of one example of each input.
        words: What whole numbers lie below where the inputs are such; 0 for real numbers.
    """

    make: Callable[[], nn.Module]
    inputs: tuple[tuple[int, ...], ...]
    words: int = 0

    def examples(self, count: int, seed: int = 0) -> tuple[Tensor, ...]:
        """Draw examples."""
        generator = torch.Generator().manual_seed(seed)
        if self.words:
            return tuple(
                torch.randint(self.words, (count, *shape), generator=generator)
                for shape in self.inputs
            )
        return tuple(torch.randn(count, *shape, generator=generator) for shape in self.inputs)

    @property
    def names(self) -> list[str]:
        """Name the inputs."""
        return ["x"] if len(self.inputs) == 1 else [f"x{i}" for i in range(len(self.inputs))]


IMAGE = (convnets.IMAGE,)
ZOO = {
    "AlexNet with LRN": Known(convnets.AlexNet, IMAGE),
    "VGG": Known(lambda: convnets.vgg(norm=False), IMAGE),
    "VGG-BN": Known(lambda: convnets.vgg(norm=True), IMAGE),
    "ResNet basic": Known(convnets.resnet_basic, IMAGE),
    "ResNet bottleneck": Known(convnets.resnet_bottleneck, IMAGE),
    "DenseNet": Known(convnets.DenseNet, IMAGE),
    "Inception": Known(convnets.Inception, IMAGE),
    "MobileNet v2": Known(convnets.mobilenet_v2, IMAGE),
    "MobileNet v3": Known(convnets.mobilenet_v3, IMAGE),
    "EfficientNet": Known(convnets.efficientnet, IMAGE),
    "ShuffleNet": Known(convnets.shufflenet, IMAGE),
    "SqueezeNet": Known(convnets.squeezenet, IMAGE),
    "U-Net": Known(convnets.UNet, IMAGE),
    "ConvNeXt": Known(convnets.convnext, IMAGE),
    "Conv-ReLU-BN": Known(convnets.conv_relu_bn, IMAGE),
    "GroupNorm": Known(convnets.group_norm, IMAGE),
    "PReLU": Known(convnets.prelu, IMAGE),
    "GLU of maps": Known(convnets.GLU, IMAGE),
    "1-D convolutions": Known(convnets.sound, ((2, 24),)),
    "3-D convolutions": Known(convnets.volume, ((1, 6, 6, 6),)),
    "MLP": Known(sequences.mlp, ((6,),)),
    "GLU": Known(sequences.GatedMLP, ((6,),)),
    "MLP-Mixer": Known(sequences.Mixer, IMAGE),
    "ViT": Known(sequences.ViT, IMAGE),
    "BERT-like": Known(sequences.Bert, ((10,),), words=20),
    "GPT-like": Known(sequences.GPT, ((6,),), words=20),
    "Llama-like": Known(sequences.Llama, ((7, 5),)),
    "LSTM classifier": Known(sequences.LSTMClassifier, ((4, 5),)),
    "siamese": Known(sequences.Siamese, ((6,), (6,))),
    "two inputs": Known(sequences.TwoInputs, ((3, 8, 8), (5,))),
}
EXPORTERS = ("legacy 13", "legacy 17", "dynamo 18")
UNWRITTEN = [("ViT", "legacy 13"), ("BERT-like", "legacy 13")]
"""What torch refuses to write: its fused attention came with opset 14."""


def built(name: str) -> nn.Module:
    """Return a network in evaluation mode, its weights drawn with a fixed seed."""
    net = ZOO[name].make()
    draw(net)
    return net.eval()


def exported(name: str, exporter: str) -> bytes:
    """Write a network with a free batch."""
    return exported_net(ZOO[name], built(name), exporter)


def exported_net(known: Known, net: nn.Module, exporter: str) -> bytes:
    """Write a network that takes what is known of it, with a free batch."""
    stream = BytesIO()
    kind, _, opset = exporter.partition(" ")
    more: dict[str, Any] = {"dynamo": kind == "dynamo"}
    if kind == "dynamo":
        axes = tuple({0: torch.export.Dim("N")} for _ in known.names)
        more |= {"dynamic_shapes": axes, "external_data": False, "verbose": False}
    else:
        more |= {"dynamic_axes": {name: {0: "N"} for name in [*known.names, "y"]}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters deprecate themselves and each other
        torch.onnx.export(
            net, known.examples(3), stream, opset_version=int(opset),
            input_names=known.names, output_names=["y"], **more,
        )  # fmt: skip
    return stream.getvalue()


def write(name: str, exporter: str, path: Path) -> None:
    """Write a network to a file that is sound."""
    path.write_bytes(exported(name, exporter))
    onnx.checker.check_model(path, full_check=True)


def opened_file(path: Path) -> Model:
    """Read a network as the command line does."""
    return move_batch_first(infer_shapes_by_running(load(path, {}), Device(threads=1)))


def opened(name: str, exporter: str, folder: Path) -> Model:
    """Write a network to a file and read it as the command line does."""
    write(name, exporter, folder / "m.onnx")
    return opened_file(folder / "m.onnx")
