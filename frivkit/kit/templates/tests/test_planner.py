"""The planner keeps the rules of planners: a sweep that was interrupted continues."""

from frivkit.testing.conformance import check_planner

from frivkit_mine.planner import plan


def test_planner_conforms(tmp_path):
    check_planner(plan, {"throws": 60, "dice": 3}, tmp_path)
