"""Where torch computes, and that it does so in float32."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from frivkit.errors import DeviceError


def torch_device(name: str) -> torch.device:
    """Return a device of torch.

    Args:
        name: ``"cpu"`` or ``"cuda"``.

    Raises:
        DeviceError: torch finds no such device.

    Example:
        >>> torch_device("cpu")
        device(type='cpu')
    """
    if name == "cuda" and not torch.cuda.is_available():
        built = torch.version.cuda
        reason = "this torch was built without CUDA" if built is None else "torch finds no GPU"
        raise DeviceError(
            f"device 'cuda' was asked for, and {reason} ({torch.__version__}): install a torch "
            "for CUDA on a machine with a GPU, or use device cpu"
        )
    return torch.device(name)


@contextmanager
def exact_on(device: torch.device) -> Iterator[None]:
    """While a block runs, let a GPU multiply in float32, by the same kernels in each run.

    By default cuDNN rounds factors to 10 bits (TF32), and may take kernels that add in any order.

    Example:
        >>> with exact_on(torch.device("cpu")):
        ...     pass
    """
    if device.type == "cpu":
        yield
        return
    products = torch.backends.cuda.matmul
    before = products.allow_tf32
    products.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(
            enabled=torch.backends.cudnn.enabled,
            benchmark=False,
            deterministic=True,
            allow_tf32=False,
        ):
            yield
    finally:
        products.allow_tf32 = before


class OnDevice(nn.Module):
    """A network on another device, with inputs and outputs on the CPU.

    Args:
        network: The network, on the device.
        device: The name of the device.
    """

    def __init__(self, network: nn.Module, device: str) -> None:
        super().__init__()
        self.network = network
        self._device = device

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the network's outputs on the CPU."""
        outputs: Tensor = self.network(inputs.to(self._device)).cpu()
        return outputs
