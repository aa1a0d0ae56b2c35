"""Heads of attention: which units they are in each layout, and that removing them is exact."""

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frivkit.compression.locks import find_removable
from frivkit.errors import ModelError
from frivkit.graph.sites.groups import analyze_groups, find_groups
from frivkit.graph.sites.projections import find_projection
from frivkit.graph.sites.scores import find_scores
from frivkit.graph.sites.site_map import find_sites
from frivkit.graph.surgery.narrow import narrow
from tests.nets import opened
from tests.surgery import check, close, drawn, run, zeroed
from tests.zoo.transformer_files import TRANSFORMERS, transformer

BLOCKS = {
    "apart": (3, ((3, 4), (3, 5))),
    "in parts": (3, ((3, 4), (3, 5))),
    "axes (timm)": (3, ((6, 4),)),  # one axis for queries, keys and values
    "einsum": (3, ((3, 4), (3, 5))),
    "fourth roots": (3, ((3, 4), (3, 4))),
    "biases of heads": (3, ((3, 4), (3, 5))),
    "groups, interleaved": (2, ((2, 4), (2, 5))),
    "groups of queries": (2, ((2, 4), (2, 5))),
    "one head of keys": (1, ((1, 4),)),
    "RoPE, halves": (3, ((3, 2), (3, 5))),
    "RoPE, pairs": (3, ((3, 2), (3, 5))),
    "masked words": (3, ((3, 4), (3, 4))),
    "crossed": (3, ((3, 4), (3, 5))),
    "sdpa in one node": (3, ((3, 4), (3, 5))),
}
"""By layout, the number of heads of the first attention, and the shapes of its blocks."""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder, known = tmp_path_factory.mktemp("heads"), {}

    def model(name):
        if name not in known:
            made, *in_one = name.split(" in one node")
            proto = transformer(made, "dynamo 23" if in_one else "legacy 17")
            known[name] = opened(proto, folder / "net.onnx")
        return known[name]

    return model


@pytest.mark.parametrize("name", BLOCKS)
def test_heads_of_each_layout_leave_exactly(models, name):
    model = models(name)
    site_map = find_sites(model)
    groups = find_groups(model, site_map)
    count, shapes = BLOCKS[name]
    assert groups.heads[0].count == count
    assert tuple(block.groups.shape for block in groups.heads[0].blocks) == shapes
    assert groups.heads[0].fixed is None or count == 1
    assert not any(block.fixed for block in groups.heads[0].blocks)

    @settings(max_examples=4, deadline=None)
    @given(st.integers(0, 1000))
    def exact(seed):
        keep = drawn(groups, seed)
        compressed = narrow(model, site_map, keep)
        check(compressed)
        inputs = TRANSFORMERS[name.split(" in one")[0]].examples(2, seed)
        x = {spec.name: each.numpy() for spec, each in zip(model.inputs, inputs, strict=True)}
        close(run(compressed, x), run(zeroed(model, site_map, keep), x))

    exact()


IN_ONE_NODE = {
    "RotaryEmbedding": (3, ((3, 2), (3, 5))),
    "RotaryEmbedding on heads": (3, ((3, 4), (3, 5))),  # two pairs, two dimensions not turned
    "RotaryEmbedding of ONNX Runtime": (3, ((3, 2), (3, 5))),
    "GroupQueryAttention": (2, ((2, 8), (2, 16))),
    "GroupQueryAttention, packed": (2, ((2, 8), (2, 16))),
}


@pytest.mark.parametrize("name", IN_ONE_NODE)
def test_heads_that_one_node_turns_or_shares_leave_exactly(name, tmp_path):
    proto = transformer(name)
    model = opened(proto, tmp_path / "net.onnx")
    site_map = find_sites(model)
    groups = find_removable(model, site_map).pruning_graph.groups
    assert groups.free.all()
    (heads,) = groups.heads
    assert (heads.count, tuple(each.groups.shape for each in heads.blocks)) == IN_ONE_NODE[name]
    assert heads.fixed is None
    assert not any(block.fixed for block in heads.blocks)
    x = {"x": np.random.default_rng(1).normal(size=(3, 7, 5)).astype(np.float32)}
    stored = ort.InferenceSession(proto.SerializeToString()).run(None, x)
    close(run(model.ir, x), stored)
    for seed in range(3):
        keep = drawn(groups, seed)
        compressed = narrow(model, site_map, keep)
        check(compressed)
        close(run(compressed, x), run(zeroed(model, site_map, keep), x))


def test_rotated_dimensions_leave_alike_from_all_heads(models):
    model = models("RoPE, halves")
    queries, values = find_groups(model, find_sites(model)).heads[0].blocks
    assert (queries.uniform, values.uniform) == (True, False)


def test_heads_keep_equally_many_dimensions(models):
    model = models("apart")
    site_map = find_sites(model)
    groups = find_groups(model, site_map)
    heads = groups.heads[0]
    stays = np.ones(groups.count, np.bool_)
    stays[heads.blocks[0].groups[0, 0]] = False
    with pytest.raises(ModelError, match="unequal numbers"):
        narrow(model, site_map, groups.flags(stays))
    stays[heads.blocks[0].groups[[1, 2], [2, 3]]] = False
    compressed = narrow(model, site_map, groups.flags(stays))
    sizes = {name: each.shape[-1] for name, each in compressed.graph.initializers.items()}
    assert 9 in sizes.values()
    stays[heads.blocks[1].groups[1]] = False  # values of a head, but not its keys
    with pytest.raises(ModelError, match="unequal numbers"):
        narrow(model, site_map, groups.flags(stays))


@pytest.mark.parametrize(
    ("name", "factor"),
    [("apart", 1.0), ("axes (timm)", 0.5**0.5), ("normed heads", None), ("sdpa in one node", 1.0)],
)
def test_queries_are_made_by_one_node_unless_they_are_normed(models, name, factor):
    model = models(name)
    site_map = find_sites(model)
    score, *_ = find_scores(model, site_map, analyze_groups(model, site_map))
    projection = find_projection(model, site_map, score.query)
    assert (projection is None) == (factor is None)
    if projection is not None:
        assert (projection.factor, projection.pairs) == (pytest.approx(factor), None)
    assert score.value is not None


@pytest.mark.parametrize(
    ("name", "pairs"),
    [("RoPE, halves", [[0, 2], [1, 3]]), ("RoPE, pairs", [[0, 1], [2, 3]]), ("Llama", None)],
)
def test_rotated_queries_are_made_of_pairs_of_outputs(models, name, pairs):
    model = models(name)
    site_map = find_sites(model)
    score, *_ = find_scores(model, site_map, analyze_groups(model, site_map))
    projection = find_projection(model, site_map, score.query)
    assert projection.pairs.tolist() == (pairs or [[0, 2], [1, 3]])
    assert np.array_equal(np.sort(projection.outputs.ravel()), np.arange(projection.outputs.size))
    for pair in projection.pairs:  # with a pair of units each
        assert len(set(projection.outputs[:, pair].ravel() // 4)) == len(projection.outputs)
