"""Advice depends on the causes of skips and on operators, not on the sentences about them."""

from dataclasses import replace

import pytest

from frivkit.graph.sites.site_map import find_sites
from frivkit.report.advice import advice
from tests.handmade import written
from tests.nets import network, opened


def unknown_operator():
    """An operator of somebody else's, for which there is no rule."""
    return written(
        """g (float[N, 6] x) => (float[N, 3] y) {
          a = Gemm (x, wa)
          s = org.example.Blend (a)
          y = Gemm (s, wy)
        }""",
        wa=(6, 4), wy=(4, 3), domains=("org.example",),
    )  # fmt: skip


def other_output():
    return written(
        """g (float[N, 6] x) => (float[N, 3] y, float[N, 3] z) {
          a = Gemm (x, wa)
          b = Gemm (x, wb)
          y = Gemm (a, wy)
          z = Gemm (b, wz)
        }""",
        wa=(6, 4), wb=(6, 5), wy=(4, 3), wz=(5, 3),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: network("recurrent"), "recurrent layers are left out"),
        (lambda: network("looped"), "layers inside an If or a Loop are left out"),
        (other_output, "layers that lead to other outputs only are left out"),
        (unknown_operator, "units are lost at org.example.Blend"),
    ],
    ids=["recurrent", "subgraph", "other output", "unknown operator"],
)
def test_other_sentences_change_no_advice(make, line, tmp_path):
    model = opened(make(), tmp_path / "m.onnx")
    found = find_sites(model)
    lines = advice(model, found, model.output())
    assert any(each.startswith(line) for each in lines)
    reworded = replace(
        found,
        sites=tuple(
            replace(site, not_followed=tuple("?" for _ in site.not_followed))
            for site in found.sites
        ),
        skipped=tuple(replace(skip, reason="?") for skip in found.skipped),
    )
    assert advice(model, reworded, model.output()) == lines
