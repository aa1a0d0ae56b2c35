"""Rules for normalisation: each unit by its own numbers (BN), or by its neighbours' too (LRN)."""

import onnx_ir as ir

from frivkit.graph.layout import Effect, Ends, Joins, Keeps, Layout


def _per_unit(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Scale and shift each unit: batch and instance normalisation of axis 1."""
    if index != 0:
        return Ends("units are the parameters of a normalisation")
    if layout.axes != (1,):
        return Ends(f"{node.op_type} acts on axis 1 and units lie on axis {layout.axes[-1]}")
    return Keeps(layout)


def _over_places(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Normalise each channel of axis 1 over its places, among which units may lie."""
    return _per_unit(node, index, layout) if layout.axes == (1,) else _across(node, index, layout)


def _across(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Rescale units by statistics over several of them: they stay in their places."""
    del node
    return Keeps(layout, places=True) if index == 0 else Ends("units are parameters of a norm")


def _after_a_sum(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Add two streams and rescale units by statistics over all of them."""
    del node
    return Joins(layout, "sum") if index < 2 else Ends("units are parameters of a norm")


def _quantised(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Round or restore each entry."""
    del node
    return Keeps(layout) if index == 0 else Ends("units are the scale of a quantiser")


RULES = {
    "BatchNormalization": _per_unit,
    "InstanceNormalization": _over_places,
    "LRN": _across,
    "LpNormalization": _across,
    "LayerNormalization": _across,
    "SimplifiedLayerNormalization": _across,
    "RMSNormalization": _across,
    "SkipLayerNormalization": _after_a_sum,
    "SkipSimplifiedLayerNormalization": _after_a_sum,
    "GroupNormalization": _across,
    "MeanVarianceNormalization": _across,
    "Softmax": _across,
    "LogSoftmax": _across,
    "QuantizeLinear": _quantised,
    "DequantizeLinear": _quantised,
}
