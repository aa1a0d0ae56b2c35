"""The widths at which kernels are fast, held to what ONNX Runtime makes of graphs here."""

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frivkit.errors import UsageError
from frivkit.graph.sites.groups import analyze_groups
from frivkit.graph.sites.site_map import find_sites
from frivkit.graph.surgery.narrow import narrow
from frivkit.latency.fast_path import blocked_nodes, leaves_fast_path
from frivkit.latency.fast_widths import fast_counts
from frivkit.latency.target import TargetMachine, target_named, this_machine
from tests.unit.latency.builder import Builder

HERE = this_machine()
BLOCK = HERE.block
blocked_here = pytest.mark.skipif(BLOCK == 1, reason="ONNX Runtime has no blocked layout here")


def counts_of(build, source, folder, target=HERE):
    model = build.model(source, folder)
    graph = analyze_groups(model, find_sites(model))
    return [each.tolist() for each in fast_counts(model, graph, target)]


def is_blocked(build, name):
    return name in blocked_nodes(ir.from_proto(build.proto(name)))


def fast(kind, width):
    """Return whether a node of some kind and width is in the blocked layout, by what is run."""
    build = Builder()
    source = build.relu(build.conv("x", width))
    if kind == "pool":
        return is_blocked(build, build.pool(source))
    if kind == "concat":
        return is_blocked(build, build.concat(source, build.conv("x", BLOCK)))
    if kind == "depthwise":
        return is_blocked(build, build.conv(source, width, 3, groups=width))
    return is_blocked(build, build.conv(source, BLOCK, 3))


WIDTHS = st.integers(1, 3 * BLOCK)


@blocked_here
class TestRulesOfTheRuntime:
    @settings(max_examples=25, deadline=None)
    @given(width=WIDTHS)
    def test_a_convolution_reads_less_than_a_block_or_a_multiple_of_4(self, width):
        assert fast("conv", width) == (width < BLOCK or width % 4 == 0)

    @settings(max_examples=15, deadline=None)
    @given(width=st.integers(2, 3 * BLOCK))
    def test_a_depthwise_convolution_has_a_multiple_of_4(self, width):
        assert fast("depthwise", width) == (width % 4 == 0)

    @settings(max_examples=15, deadline=None)
    @given(kind=st.sampled_from(["pool", "concat"]), width=WIDTHS)
    def test_poolings_and_concatenations_take_whole_blocks(self, kind, width):
        assert fast(kind, width) == (width % BLOCK == 0)

    @pytest.mark.parametrize("width", [2, 4])
    def test_a_convolution_in_groups_takes_whole_blocks_a_group(self, width):
        build = Builder()
        source = build.conv("x", 4 * width)
        assert not is_blocked(build, build.conv(source, 4 * width, groups=4))
        source = build.conv("x", 2 * width * BLOCK)
        assert is_blocked(build, build.conv(source, 2 * width * BLOCK, groups=2))

    def test_a_forbidden_width_leaves_the_layout(self, tmp_path):
        build = Builder()
        inner = build.relu(build.conv("x", 2 * BLOCK))
        model = build.model(build.dense(build.conv(inner, BLOCK, 3), 4), tmp_path)
        sites = find_sites(model)
        keep = {sites.sites[0].name: np.arange(2 * BLOCK) > 0}
        assert "conv2" in leaves_fast_path(model.ir, narrow(model, sites, keep))


PIECES = ["conv", "wide", "depthwise", "pool", "residual", "concat", "groups", "stride", "split"]


def built(pieces, widths):
    """Return a network of pieces one after the other, and the name of its last tensor."""
    build = Builder()
    source = build.relu(build.conv("x", widths[0], 3))
    for piece, width in zip(pieces, widths[1:], strict=False):
        before = build.widths[source]
        if piece == "depthwise":
            source = build.relu(build.conv(source, before, 3, groups=before))
        elif piece == "pool":
            source = build.pool(source, "AveragePool")
        elif piece == "residual":
            inner = build.relu(build.conv(source, width))
            source = build.add(source, build.conv(inner, before, 3))
        elif piece == "concat":
            source = build.concat(build.relu(build.conv(source, width)), source)
        elif piece == "groups" and before % 2 == 0:
            source = build.relu(build.conv(source, 2 * width, groups=2))
        elif piece == "split" and before % 2 == 0:
            one, other = build.split(source)
            source = build.relu(build.conv(build.add(one, build.conv(other, before // 2)), width))
        else:
            kernel, stride = (3 if piece == "wide" else 1), (2 if piece == "stride" else 1)
            source = build.relu(build.conv(source, width, kernel, stride=stride))
    return build, build.dense(build.dense(source, 9), 4)


def drawn(graph, counts, seed):
    """Draw which groups stay, as many of each layer group as one of its numbers says."""
    generator, groups = np.random.default_rng(seed), graph.groups
    stays = np.ones(groups.count, np.bool_)
    for sites, allowed in zip(groups.layer_groups, counts, strict=True):
        ids = np.unique(np.concatenate([groups.of[site] for site in sites]))
        free = ids[groups.free[ids]]
        stays[generator.choice(free, len(ids) - int(generator.choice(allowed)), False)] = False
    return groups.flags(stays)


@blocked_here
@settings(max_examples=40, deadline=None)
@given(
    pieces=st.lists(st.sampled_from(PIECES), min_size=1, max_size=4),
    widths=st.lists(
        st.one_of(st.sampled_from([BLOCK // 2, BLOCK, 2 * BLOCK, 3 * BLOCK]), st.integers(2, 40)),
        min_size=5,
        max_size=5,
    ),
    seed=st.integers(0, 99),
)
def test_no_allowed_width_leaves_the_layout(pieces, widths, seed, tmp_path_factory):
    build, end = built(pieces, widths)
    model = build.model(end, tmp_path_factory.mktemp("net"))
    sites = find_sites(model)
    graph = analyze_groups(model, sites)
    counts = fast_counts(model, graph, HERE)
    for sites_of, allowed in zip(graph.groups.layer_groups, counts, strict=True):
        ids = np.unique(np.concatenate([graph.groups.of[site] for site in sites_of]))
        assert allowed[-1] == len(ids)
        assert (np.diff(allowed) > 0).all()
        assert allowed[0] >= 1
    narrowed = narrow(model, sites, drawn(graph, counts, seed))
    assert leaves_fast_path(model.ir, narrowed) == []


AVX2 = target_named("avx2")


class TestCounts:
    """With AVX2, whatever runs the tests."""

    def test_a_chain_of_convolutions(self, tmp_path):
        build = Builder()
        inner = build.relu(build.conv("x", 50, 3))
        end = build.dense(build.conv(inner, 64, 3), 4)
        below = [1, 2, 3, 4, 5, 6]  # single channels are read; 7 take as long as 8
        #                  40 take almost as long as 48: they begin a new set of filters
        assert counts_of(build, end, tmp_path, AVX2) == [
            [*below, 8, 16, 24, 32, 48, 50],
            [8, 16, 24, 32, 48, 56, 64],
        ]

    def test_units_of_dense_layers_may_be_any_number(self, tmp_path):
        build = Builder()
        end = build.dense(build.dense(build.conv("x", 8), 21), 4)
        assert counts_of(build, end, tmp_path, AVX2)[1] == list(range(1, 22))

    def test_coupled_layers_have_one_set(self, tmp_path):
        build = Builder()
        one = build.conv("x", 24)
        total = build.add(one, build.conv(build.relu(build.conv(one, 20)), 24))
        end = build.dense(build.pool(total), 4)  # the pooling wants whole blocks of the sum
        sums, inner = counts_of(build, end, tmp_path, AVX2)
        assert (sums, inner) == ([8, 16, 24], [1, 2, 3, 4, 5, 6, 8, 16, 20])

    def test_depthwise(self, tmp_path):
        build = Builder()
        inner = build.conv(build.relu(build.conv("x", 18)), 18, 3, groups=18)
        end = build.dense(build.conv(build.relu(inner), 16), 4)
        assert counts_of(build, end, tmp_path, AVX2)[0] == [4, 8, 16, 18]

    def test_a_group_of_several_channels(self, tmp_path):
        build = Builder()
        inner = build.conv(build.relu(build.conv("x", 48)), 24, groups=12)
        end = build.dense(build.conv(build.relu(inner), 16), 4)
        # A group of the convolution is 4 channels of its input and 2 of its output.
        assert counts_of(build, end, tmp_path, AVX2)[0] == [1, 2, 4, 8, 12]

    def test_parts_of_a_concatenation(self, tmp_path):
        build = Builder()
        even = build.concat(build.conv("x", 24), build.conv("x", 16))
        end = build.dense(build.conv(even, 16), 4)
        assert counts_of(build, end, tmp_path, AVX2)[:2] == [[8, 16, 24], [8, 16]]
        build = Builder()
        odd = build.concat(build.conv("x", 19), build.conv("x", 13))
        end = build.dense(build.conv(odd, 16), 4)  # reads 32, and must not read 31
        assert counts_of(build, end, tmp_path, AVX2)[:2] == [[3, 19], [5, 13]]

    def test_units_in_parts_all_stay(self, tmp_path):
        build = Builder()
        one, other = build.split(build.conv("x", 32))
        end = build.dense(build.conv(build.concat(other, build.relu(one)), 16), 4)
        assert counts_of(build, end, tmp_path, AVX2)[0] == [32]

    def test_locked_groups_stay(self, tmp_path):
        build = Builder()
        shares = build.softmax(build.conv("x", 32))
        end = build.dense(shares, 4)
        assert counts_of(build, end, tmp_path, AVX2) == [[32]]

    def test_double_precision_has_no_blocked_layout(self, tmp_path):
        build = Builder(dtype=np.float64)
        end = build.dense(build.conv(build.conv("x", 16), 16), 4)
        assert counts_of(build, end, tmp_path, AVX2) == [list(range(1, 17))] * 2

    def test_tensorrt_takes_blocks_in_dense_layers_too(self, tmp_path):
        build = Builder()
        end = build.dense(build.dense(build.conv("x", 20), 18), 4)
        assert counts_of(build, end, tmp_path, target_named("tensorrt-fp16")) == [
            [8, 16, 20],
            [8, 16, 18],
        ]

    def test_a_machine_without_blocks_takes_any_width(self, tmp_path):
        build = Builder()
        end = build.dense(build.conv("x", 11), 4)
        assert counts_of(build, end, tmp_path, TargetMachine("x", 1)) == [list(range(1, 12))]


def test_this_machine_is_probed():
    assert BLOCK in (1, 8, 16)
    assert this_machine() is HERE


def test_an_unknown_target_is_refused():
    with pytest.raises(UsageError, match="known: avx2, avx512, neon, tensorrt-fp16"):
        target_named("avx")
