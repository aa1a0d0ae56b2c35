"""The law of the ledger: what it counts is what the graph of the plan costs."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frivkit.compression.calibration import Calibration
from frivkit.compression.ledger import Ledger
from frivkit.compression.low_rank import full_rank
from frivkit.compression.moves import Moves, branch_moves, kernel_of, rank_moves
from frivkit.compression.plan import Factorization, Plan, amount, group_flags, keep_all, outline
from tests.nets import examples, network, opened
from tests.planning import calibrated

NETS = ("mlp", "residual", "inception", "grouped", "separable", "tokens", "transposed")


@cache
def prepared(name: str) -> tuple[Calibration, Moves]:
    """Return a network with its statistics on a few examples, and its factorizations."""
    with TemporaryDirectory() as folder:
        model = opened(network(name), Path(folder) / "net.onnx")
        np.savez(Path(folder) / "x.npz", x=next(iter(examples(model, 12).values())))
        calibration = calibrated(model, f"npz:{folder}/x.npz")
        moves = rank_moves(calibration, "pca") + rank_moves(calibration, "separable")
        return calibration, moves + branch_moves(calibration)


def orders(calibration: Calibration, draw: st.DrawFn) -> Iterator[np.ndarray]:
    """Yield groups of each layer group that can be removed together, in any order."""
    groups = calibration.pruning_graph.groups
    for layer_group in calibration.layer_groups:
        order = np.array(draw(st.permutations(layer_group.groups.tolist())), np.intp)
        stays = [set(groups.of[site].tolist()) for site in layer_group.sites]
        stays += [set(row.tolist()) for row in groups.rows]
        removed: list[int] = []
        for group in order.tolist():
            if all(row - {*removed, group} for row in stays):
                removed.append(group)
        yield np.array(removed, np.intp)


@pytest.mark.parametrize("name", NETS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_what_is_left_is_what_the_graph_of_the_plan_costs(name: str, data: st.DataObject) -> None:
    calibration, moves = prepared(name)
    macs, units = (
        Ledger(calibration.model, calibration.pruning_graph, resource)
        for resource in ("macs", "units")
    )
    assert macs.total == amount(calibration.model.ir, calibration, "macs", None)
    keep = keep_all(calibration)
    for order in data.draw(st.composite(lambda draw: list(orders(calibration, draw)))()):
        first, then = (data.draw(st.integers(0, len(order))) for _ in range(2))
        for ledger in (macs, units):
            removal = ledger.removal(order)
            ledger.remove(removal, 0, first)
            before = ledger.total
            (saved,) = ledger.saved_by_removal(removal, first, np.array([then]))
            ledger.remove(removal, first, then)
            assert saved == pytest.approx(before - ledger.total)
        for site, of in calibration.pruning_graph.groups.of.items():
            keep[site] &= ~np.isin(of, order[:then])

    kept = group_flags(calibration, keep)
    factorized = {}
    for each in (
        data.draw(st.lists(st.sampled_from(moves.ranks), max_size=2)) if moves.ranks else ()
    ):
        consumer = each.linear_consumer
        narrow = consumer.narrowed(kept).matrix[kept[consumer.group_ids]]
        most = min(full_rank(each.kind, narrow, kernel_of(consumer)), int(each.ranks.max()))
        rank, node = data.draw(st.integers(1, most)), macs.index[consumer.consumer.node]
        before = macs.total
        whole, then = macs.cost_at_ranks(node, np.array([0, rank]), np.array([each.macs] * 2))
        if consumer.consumer.node not in factorized:
            macs.set_rank(node, rank, np.array(each.macs))
            assert whole - then == pytest.approx(before - macs.total)
        factorized.setdefault(consumer.consumer.node, Factorization(each.kind, rank))

    dropped = data.draw(st.sets(st.sampled_from(moves.branches))) if moves.branches else set()
    inside = {node for move in dropped for node in move.branch.nodes}
    macs.set_dropped([macs.index[node] for node in inside if node in macs.index], dropped=True)
    plan = Plan(keep, 0.0, {n: how for n, how in factorized.items() if n not in inside})
    plan = replace(plan, dropped=tuple(dropped))
    made = outline(calibration, plan)
    assert macs.total == pytest.approx(amount(made, calibration, "macs", plan))
    assert units.total == amount(made, calibration, "units", plan)
