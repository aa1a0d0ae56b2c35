"""The transformers as files, by every exporter that writes them, and those with fused nodes."""

import onnx
import torch
from torch import Tensor

from tests.nets import draw
from tests.zoo.files import Known, exported_net
from tests.zoo.fused import FUSED
from tests.zoo.transformers import READS, SHAPES, TOKENS, Crossed, Masked, TorchEncoder, Transformer

EXPORTERS = ("legacy 17", "dynamo 18", "dynamo 23")
"""torch's tracing exporter, its newer one, and that at the opset with attention as one node."""
UNWRITTEN = (("RMSNorm", "legacy 17"),)
"""What torch refuses to write."""


class Words(Known):
    """A network of words and a mask of them."""

    def examples(self, count: int, seed: int = 0) -> tuple[Tensor, ...]:
        """Draw words, and masks that hide the last ones of some examples."""
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(self.words, (count, TOKENS), generator=generator)
        long = torch.randint(TOKENS // 2, TOKENS + 1, (count, 1), generator=generator)
        return ids, (torch.arange(TOKENS) < long).to(torch.int64)


TRANSFORMERS = {
    **{
        name: Known(lambda shape=shape: Transformer(shape), ((TOKENS, READS),))
        for name, shape in SHAPES.items()
    },
    "torch, behind": Known(lambda: TorchEncoder(before=False), ((TOKENS, READS),)),
    "torch, before": Known(lambda: TorchEncoder(before=True), ((TOKENS, READS),)),
    "masked words": Words(Masked, ((TOKENS,), (TOKENS,)), words=30),
    "crossed": Known(Crossed, ((TOKENS, READS), (4, READS + 1))),
}
"""Transformers written with torch, by what is special of each."""


def transformer(name: str, exporter: str = "legacy 17") -> onnx.ModelProto:
    """Return a transformer as a file with a free batch: of torch by an exporter, or fused."""
    if name in FUSED:
        return FUSED[name]()
    known = TRANSFORMERS[name]
    net = known.make()
    draw(net)
    return onnx.load_from_string(exported_net(known, net.eval(), exporter))
