"""The figure keeps the rules of figures, and draws what it should."""

from frivkit.experiments.gain import WidthCurve
from frivkit.testing.conformance import check_figure

from frivkit_mine.figure import BARS


def test_figure_conforms():
    check_figure(BARS)


def test_figure_draws_a_bar_for_each_gain():
    curve = WidthCurve("redundant", "A & B", (1, 2, 4), ((0.1,), (0.15,), (0.3,)), figure="9")
    drawn = BARS.draw([curve], "paper")("svg").decode()
    assert "A &amp; B: g = 3.50" in drawn
    assert 'width="140"' in drawn
