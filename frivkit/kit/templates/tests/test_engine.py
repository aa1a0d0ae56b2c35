"""The engine keeps the rules of engines: order, errors, and no item taken too early."""

from frivkit.testing.conformance import check_engine

from frivkit_mine.engine import threads


def test_engine_conforms():
    check_engine(threads)
