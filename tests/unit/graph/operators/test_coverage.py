"""Every operator of ONNX has a rule, or a reason why it has none."""

import onnx
import onnx_ir as ir

from frivkit.graph.layout import Layout
from frivkit.graph.operators.table import OPERATORS, effect
from frivkit.graph.operators.without_rule import REASONS


def test_every_operator_of_onnx_has_a_rule_or_a_reason():
    standard = {s.name for s in onnx.defs.get_all_schemas() if not s.domain and not s.deprecated}
    assert standard <= OPERATORS.keys() | REASONS.keys()
    assert not OPERATORS.keys() & REASONS.keys()


def test_a_reason_is_given_where_units_end():
    x = ir.Value(name="x", shape=ir.Shape(["N", 4]))
    result = effect(ir.Node("", "Unique", [x]), 0, Layout.of(1, 4))
    assert result.reason == "Unique makes an output whose length depends on what units compute"
