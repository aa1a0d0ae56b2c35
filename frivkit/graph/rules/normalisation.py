"""Rules for normalisation: each unit by its own numbers (BN), or by its neighbours' too (LRN)."""

import onnx_ir as ir

from frivkit.graph.layout import Effect, Ends, Keeps, Layout


def _per_unit(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Scale and shift each unit: batch and instance normalisation of axis 1."""
    if index != 0:
        return Ends("units are the parameters of a normalisation")
    if layout.axis != 1:
        return Ends(f"{node.op_type} acts on axis 1 and units lie on axis {layout.axis}")
    return Keeps(layout)


def _across_units(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Rescale units by statistics over several of them: they stay in their places."""
    del node
    return Keeps(layout, places=True) if index == 0 else Ends("units are parameters of a norm")


def _quantised(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Round or restore each entry."""
    del node
    return Keeps(layout) if index == 0 else Ends("units are the scale of a quantiser")


RULES = {
    "BatchNormalization": _per_unit,
    "InstanceNormalization": _per_unit,
    "LRN": _across_units,
    "LpNormalization": _across_units,
    "LayerNormalization": _across_units,
    "SimplifiedLayerNormalization": _across_units,
    "RMSNormalization": _across_units,
    "GroupNormalization": _across_units,
    "MeanVarianceNormalization": _across_units,
    "Softmax": _across_units,
    "LogSoftmax": _across_units,
    "QuantizeLinear": _quantised,
    "DequantizeLinear": _quantised,
}
