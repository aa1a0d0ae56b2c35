"""The operator keeps the rules of operators: frivkit runs nodes of it and compares."""

import numpy as np
from frivkit.testing.conformance import OperatorExample, check_operator_rules

from frivkit_mine.operator import OPERATORS


def test_operator_conforms():
    along = {"a": np.array(1, np.int64)}
    example = OperatorExample("y = CumSum (x, a)", {"x": (4, 5)}, along)
    assert check_operator_rules(OPERATORS, {"CumSum": [example]})
