"""Whether a network is too wide: on networks that the tests train, without any part of frivkit."""

import html
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import frivkit
from frivkit.advice.family import find_family
from frivkit.errors import ModelError, UsageError
from frivkit.graph.sites.site_map import Site
from frivkit.report.width_advice import advice_sentences, network_cells
from tests.families import CLASSES, INPUTS, WIDTHS, examples, trained


@pytest.fixture(scope="module")
def nets():
    return {width: trained(width) for width in WIDTHS}


@pytest.fixture(scope="module")
def advised(nets):
    x, y = examples()
    return frivkit.advise([nets[32], nets[8], nets[16]], data=(x, y), threads=1)


def layers(*units, op="Gemm"):
    return [Site(f"h{i}", f"fc{i}", op, 1, (n,), (), (), ()) for i, n in enumerate(units)]


class TestFamily:
    @given(
        st.lists(st.integers(8, 300), min_size=1, max_size=6),
        st.permutations([1, 2, 4]),
        st.integers(0, 2),
    )
    def test_finds_widths_in_any_order_beside_fixed_layers(self, base, factors, fixed):
        sites = [layers(*(f * n for n in base), *[40] * fixed) for f in factors]
        family = find_family([f"{f}.onnx" for f in factors], sites)
        assert family.widths == (1.0, 2.0, 4.0)
        assert [factors[i] for i in family.order] == [1, 2, 4]
        assert [layer.fixed for layer in family.layers] == [False] * len(base) + [True] * fixed

    @given(
        st.lists(st.integers(16, 400), min_size=1, max_size=6), st.sampled_from([0.25, 0.5, 0.75])
    )
    def test_allows_rounding_to_multiples_of_eight(self, base, factor):
        def rounded(n):
            return max(8, 8 * round(n / 8))

        whole = [rounded(n) for n in base]
        narrow = [rounded(factor * n) for n in base]
        if whole == narrow:
            return
        family = find_family(["a", "b"], [layers(*whole), layers(*narrow)])
        assert family.order == (1, 0)

    def test_widths_need_no_factor_of_two(self):
        family = find_family(["a", "b", "c"], [layers(12, 24), layers(18, 36), layers(30, 60)])
        assert family.widths == (1.0, 1.5, 2.5)

    @pytest.mark.parametrize(
        ("others", "words"),
        [
            (layers(16), "the layers of b are 1, those of a 2"),
            (layers(16, 32, op="Conv"), "fc0 of a is a Gemm, and fc0 of b in its place a Conv"),
            (layers(18, 200), "layer fc0 has 9 units in a, 18 units in b"),
        ],
    )
    def test_refuses_in_one_line_what_is_none(self, others, words):
        with pytest.raises(ModelError) as refused:
            find_family(["a", "b"], [layers(9, 17), others])
        assert str(refused.value).startswith("these models are no family: ")
        assert words in str(refused.value)
        assert "\n" not in str(refused.value)


def numpy_rank(activations):
    """Compute the least number of components that leave at most 5 % of the variance."""
    centred = activations - activations.mean(0)
    variances = np.linalg.eigvalsh(centred.T @ centred)[::-1]
    return int(np.argmax(np.cumsum(variances) >= 0.95 * variances.sum())) + 1


def test_counts_redundant_units_as_numpy_does(nets):
    x, _ = examples()
    found = frivkit.advise(list(nets.values()), data=x, threads=1, protocol="paper").document
    for row in found["growth"]:
        if row["kind"] == "redundant" and row["layer"] is not None:
            depth = int(row["layer"]) + 2  # up to and with the ReLU behind that layer
            for net, count in zip(nets.values(), row["counts"], strict=True):
                with torch.no_grad():
                    activations = net[:depth](torch.from_numpy(x)).numpy().astype(float)
                assert count["units"] == activations.shape[1]
                assert count["number"] == pytest.approx(
                    count["units"] - numpy_rank(activations), abs=1e-6
                )
                low, high = count["interval"]
                assert low <= count["share"] <= high


def test_gains_are_those_of_the_counts(advised):
    assert advised.widths == [1.0, 2.0, 4.0]
    assert len(advised.document["growth"]) == 2 * 3
    for row in advised.document["growth"]:
        numbers = np.array([count["number"] for count in row["counts"]])
        used = np.array([count["used"] for count in row["counts"]])
        assert row["gain"]["value"] == pytest.approx(np.mean(numbers[1:] / numbers[:-1]))
        assert row["used_gain"]["value"] == pytest.approx(np.mean(used[1:] / used[:-1]))
        assert row["gain"]["covers"] == "measurement"
        low, high = row["gain"]["interval"]
        assert low < row["gain"]["value"] < high
        for count in row["counts"]:
            if row["kind"] == "redundant" and row["layer"] is not None:
                low, high = count["interval"]  # units are counted whole
                assert low <= max(0, (count["number"] - 1) / count["units"]) + 1e-9
                assert high >= min(1, (count["number"] + 1) / count["units"]) - 1e-9
        assert row["next"]["units"] == 2 * row["counts"][-1]["units"]
        grown = used[-1] * row["used_gain"]["value"]
        expected = min(grown, row["next"]["units"]) - used[-1]
        assert row["next"]["used_added"] == pytest.approx(expected)
        upper = row["counts"][-1]["used_interval"][1]
        enough = [c["width"] for c in row["counts"] if c["units"] >= upper - 1e-9]
        assert row["holds"] == enough[0]


class WithCopies(nn.Module):
    """A network of which some units are copies of others, whatever the examples."""

    def __init__(self, width: int, redundant: int) -> None:
        super().__init__()
        kept = width - redundant
        self.first, self.relu = nn.Linear(INPUTS, width), nn.ReLU()
        self.last = nn.Linear(width, CLASSES)
        with torch.no_grad():
            rows = torch.eye(INPUTS)[torch.arange(width) % kept]
            self.first.weight.copy_(rows)
            self.first.bias.fill_(9.0)  # no ReLU cuts off

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return self.last(self.relu(self.first(x)))


def test_counts_that_no_example_changes_are_not_certain():
    """Copies are 4 of 8 and 9 of 16 units: 2.25 times as many, and with one less no 2 times."""
    x, _ = examples()
    nets = [WithCopies(8, 4), WithCopies(16, 9)]
    found = frivkit.advise(nets, data=x, threads=1, protocol="paper")
    row = found.document["growth"][1]
    assert (row["kind"], row["layer"]) == ("redundant", None)
    narrow, wide = row["counts"]
    assert (narrow["number"], wide["number"]) == (4, 9)
    assert narrow["interval"] == pytest.approx([3 / 8, 5 / 8])
    assert wide["interval"] == pytest.approx([8 / 16, 10 / 16])
    low, _ = row["gain"]["interval"]
    assert low < 2 < row["gain"]["value"] == pytest.approx(2.25)
    assert row["gain"]["verdict"] == "undecided"
    assert row["used_gain"]["interval"] is not None
    lines = str(found).splitlines()
    assert sum("against the width (these files)" in line for line in lines) == 2


def test_says_it_in_two_sentences(advised):
    first, second = advised.advice
    assert first.count("redundant") == first.count("prunable") == 1
    assert "the next doubling of the width buys 96 more units" in second
    assert repr(advised).startswith("<frivkit advice>\n  Of the 96 units of ")
    assert " ".join(first.split()) in " ".join(str(advised).split())
    assert "trained anew" in str(advised)
    assert html.escape(second) in advised._repr_html_()


def test_sentence_names_the_number_that_no_narrower_network_has(advised):
    document = deepcopy(advised.document)
    row = next(r for r in document["growth"] if (r["kind"], r["layer"]) == ("prunable", None))
    row["holds"] = document["models"][-1]["width"]
    row["counts"][-1] |= {"used": 40.0, "used_interval": [20.0, 70.0]}
    said = advice_sentences(document)[0].replace("\xa0", " ")
    assert (
        "40 (20 to 70) are not prunable, and 70 is more than any narrower network here has" in said
    )
    row["counts"][-1] |= {"used": 70.0, "used_interval": None}
    said = advice_sentences(document)[0]
    assert "70 are not prunable, more than any narrower network here has" in said


def test_tables_and_plots(advised):
    table = advised.to_pandas()
    assert len(table) == 2 * 3 * 3
    widest = table[(table.kind == "redundant") & table.layer.isna() & (table.width == 4)]
    assert widest.units.item() == 96
    assert widest.gain.item() == pytest.approx(advised.gain("redundant"))
    assert (table.low <= table.share + 1e-9).all()
    assert (table.share <= table.high + 1e-9).all()
    axes = advised.plot("prunable")
    assert axes.get_ylabel() == "prunable units"
    assert len(axes.containers) == 3
    with pytest.raises(UsageError, match="there are: prunable, redundant"):
        advised.plot("frivolous")
    with pytest.raises(KeyError):
        advised.gain("redundant", "no such layer")


def test_one_network_says_its_units_and_what_is_missing(nets):
    x, _ = examples()
    found = frivkit.advise(nets[16], data=x, threads=1)
    assert found.widths == [1.0]
    assert found.gain("redundant") is None
    assert found.interval("redundant") is None
    first, second = found.advice
    assert first.startswith("Of the 48 units of ")
    assert "95 % interval" in first.replace("\xa0", " ")
    assert "give networks of the same family at other widths" in second
    assert {row["verdict"] for row in (r["gain"] for r in found.document["growth"])} == {None}


def test_several_networks_of_a_width_make_the_interval_cover_training(nets):
    x, _ = examples()
    several = [nets[8], trained(8, seed=1), nets[16], trained(16, seed=1)]
    found = frivkit.advise(several, data=x, threads=1)
    assert found.widths == [1.0, 1.0, 2.0, 2.0]
    rows = {row["kind"]: row for row in found.document["growth"] if row["layer"] is None}
    assert all(row["gain"]["covers"] == "networks" for row in rows.values())
    assert [count["width"] for count in rows["redundant"]["counts"]] == [1.0, 2.0]
    alone = [
        frivkit.advise(net, data=x, threads=1).document["growth"][1]["counts"][0]["share"]
        for net in several[:2]
    ]
    assert rows["redundant"]["counts"][0]["share"] == pytest.approx(np.mean(alone))
    own = [model["shares"]["redundant"] for model in found.document["models"]]
    assert own[:2] == pytest.approx(alone)  # each network's own, not the mean of its width
    shown = [row[-1].replace("\xa0", " ") for row in network_cells(found.document)[1:]]
    assert shown == [f"{100 * share:.1f} %" for share in own]


def test_several_networks_of_one_width_are_said_to_be_a_mean(nets):
    x, _ = examples()
    found = frivkit.advise([nets[8], trained(8, seed=1)], data=x, threads=1)
    assert found.advice[0].startswith("Of the 24 units of each of 2 networks, ")
    assert found.advice[0].endswith(" are prunable on average.")


def test_refuses_a_network_that_is_given_twice_and_none_at_all(nets):
    x, _ = examples()
    with pytest.raises(UsageError, match="is the same file as "):
        frivkit.advise([nets[8], nets[8]], data=x)
    with pytest.raises(UsageError, match="models is empty"):
        frivkit.advise([], data=x)


def test_few_examples_give_counts_without_intervals(nets):
    """256 examples are all that the reference protocol needs, and none can be left out."""
    x, _ = examples()
    found = frivkit.advise([nets[8], nets[16]], data=x[:256], threads=1)
    redundant = next(r for r in found.document["growth"] if r["kind"] == "redundant")
    assert [count["interval"] for count in redundant["counts"]] == [None, None]
    assert redundant["gain"]["value"] > 0
    assert redundant["gain"]["interval"] is None
    assert redundant["gain"]["verdict"] is None


def test_a_row_continues_the_used_units():
    from frivkit.advice.growth import Count, Growth
    from frivkit.advice.measuring import Share
    from frivkit.experiments.gain import Gain, WidthCurve

    curve = WidthCurve("redundant", "network", (1, 2), ((0.5,), (0.7,)))
    counts = (Count(1, 10, Share(0.5, (0.4, 0.6))), Count(2, 20, Share(0.7, (0.6, 0.8))))
    gains = Gain(2.8, (2.8,), (2.1, 3.5)), Gain(1.2, (1.2,), (0.9, 1.5))
    row = Growth("redundant", None, False, counts, curve, *gains, "measurement", 40)
    assert row.holds == 1  # 6 units are used, 8 at the interval's end
    assert row.verdict == "faster"
    added, interval = row.used_by_next()
    assert added == pytest.approx(1.2)
    assert interval == pytest.approx((-0.6, 3))
    assert replace(row, gain=Gain(2.0, (2.0,), (1.8, 2.2))).verdict == "undecided"
    assert replace(row, gain=Gain(1.5, (1.5,), (1.2, 1.8))).verdict == "slower"
    assert replace(row, fixed=True).verdict is None
    unknown = replace(row, used_gain=Gain(float("nan"), (), None))
    assert unknown.used_by_next() is None
