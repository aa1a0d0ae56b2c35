"""The offers of this plugin: architectures."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def architectures() -> list[Offer]:
    """Offer untrained networks of any width."""
    return [
        Offer("mlp", "frivkit_papernets.mlp:MLP", "layers of 128 units, for any data"),
        Offer("cnn", "frivkit_papernets.cnn:CNN", "two convolutions with batch norm, for images"),
        Offer("alexnet-cifar", "frivkit_papernets.alexnet:ALEXNET", "the paper's, for CIFAR-10"),
        Offer("resnet56", "frivkit_papernets.resnet:RESNET56", "27 residual blocks, for CIFAR-10"),
        Offer("resnet20", "frivkit_papernets.resnet:RESNET20", "9 residual blocks, for CIFAR-10"),
        Offer("resnet18", "frivkit_papernets.resnet:RESNET18", "8 residual blocks, for ImageNet"),
        Offer("inception-v3", "frivkit_papernets.inception:INCEPTION", "11 modules, for ImageNet"),
        Offer(
            "inception-v3-layer",
            "frivkit_papernets.inception:INCEPTION_LAYER",
            "the same with one module at another width",
        ),
    ]
