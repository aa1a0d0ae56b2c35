"""Sites and couplings of many kinds of networks, and that masks do to them what they say."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from frivkit.errors import ModelError
from frivkit.graph.model import Model
from frivkit.graph.sites.groups import find_groups
from frivkit.graph.sites.site_map import Site, find_sites
from frivkit.graph.surgery.narrow import narrow
from frivkit.runtime.perturbed_model import BaselineModel, PerturbedModel
from frivkit.runtime.session import Device
from frivkit.runtime.shape_probe import infer_shapes_by_running
from frivkit.units.masks import Mask
from frivkit_onnx.provider import load
from frivkit_unit_selectors.selectors import MAP
from tests import surgery
from tests.picture import picture, written_out
from tests.zoo import operators
from tests.zoo.files import EXPORTERS, UNWRITTEN, ZOO, exported, opened
from tests.zoo.independent import multiplied, ran, without_weights
from tests.zoo.page import PAGE, outline, rows
from tests.zoo.pictures import PICTURES

pytestmark = pytest.mark.slow

MEMORY, COUNT = 1 << 30, 5
OTHER_SKIPS = {("AlexNet with LRN", "dynamo 18")}  # its LRN in pieces has no If


ROWS = {"AlexNet with LRN": 2, "ViT": 2, "BERT-like": 2}
"""Networks whose exporters differ in what is left out, or of which one refuses."""


def feeds_of(name: str, count: int = COUNT) -> dict[str, np.ndarray]:
    known = ZOO[name]
    arrays = (tensor.numpy() for tensor in known.examples(count, seed=1))
    return dict(zip(known.names, arrays, strict=True))


def close(found: np.ndarray, wanted: np.ndarray, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * max(1, abs(wanted).max()))


def masked(
    model: Model, sites: list[Site], feeds: dict, keep: dict[str, np.ndarray], output: str = "y"
) -> np.ndarray:
    way = PerturbedModel(model, sites, output, Device(threads=1), MEMORY)
    return way.run(way.prepare(feeds), Mask(keep), MAP)


@pytest.mark.parametrize("name", ZOO)
def test_sites_are_those_worked_out_by_hand_and_masks_do_what_they_say(name, tmp_path):
    """All of a network in one test, for its files take longest to write."""
    models = {
        exporter: opened(name, exporter, tmp_path)
        for exporter in EXPORTERS
        if (name, exporter) not in UNWRITTEN
    }
    assert picture(models["legacy 17"]) == written_out(PICTURES[name])
    wanted = outline(models["legacy 17"])
    for exporter, model in models.items():
        found = outline(model)
        assert found[:2] == wanted[:2], exporter
        assert (found[2] == wanted[2]) is ((name, exporter) not in OTHER_SKIPS)
        check_baseline(model, feeds_of(name))
        check_zeros(model, feeds_of(name))
    assert "\n".join(rows(name, models)) in PAGE.read_text(), "run: python -m tests.zoo.page"


def check_baseline(model: Model, feeds: dict[str, np.ndarray]) -> None:
    """Masks that keep every unit change nothing."""
    sites = list(find_sites(model).sites)
    baseline = BaselineModel(model, "y", Device(threads=1), MEMORY).run(feeds)
    close(baseline, ran(ir.to_proto(model.ir), feeds, "y")[0], 1e-6)
    ones = {site.name: np.ones(site.width, bool) for site in sites}
    close(masked(model, sites, feeds, ones), baseline, 1e-6)
    for site in sites:
        close(masked(model, [site], feeds, {site.name: ones[site.name]}), baseline, 1e-6)


def check_zeros(model: Model, feeds: dict[str, np.ndarray]) -> None:
    """A masked unit is one whose weights are zero, where that is the same thing as a zero unit."""
    found = find_sites(model)
    by_weights = 0
    for number, site in enumerate(found.sites):
        unit = (7 * number + 3) % site.width
        flags = np.arange(site.width) != unit
        zeroed = masked(model, [site], feeds, {site.name: flags})
        close(zeroed, ran(multiplied(model, site, unit), feeds, "y")[0])
        edited = without_weights(model, found, site, unit, feeds)
        if edited is not None:
            by_weights += 1
            close(zeroed, ran(edited, feeds, "y")[0])
    assert by_weights > 0


# Units of what each Concat joins.
JOINED = {
    "DenseNet": [10, 14, 11],
    "Inception": [15],
    "ShuffleNet": [8, 8],
    "SqueezeNet": [8, 10],
    "U-Net": [12, 8],
    "two inputs": [10],
}


@pytest.mark.parametrize("name", JOINED)
def test_what_concats_join_can_be_layers(name, tmp_path):
    feeds = feeds_of(name)
    for exporter in EXPORTERS:
        model = opened(name, exporter, tmp_path)
        apart, found = find_sites(model), find_sites(model, None, ("*",))
        joined = [site for site in found.sites if site.op == "Concat"]
        assert [site.width for site in joined] == JOINED[name]
        producers = sorted(w for site in apart.sites for w in site.producers)
        assert sorted(w for site in found.sites for w in site.producers) == producers
        (baseline,) = ran(ir.to_proto(model.ir), feeds, "y")
        ones = {site.name: np.ones(site.width, bool) for site in found.sites}
        close(masked(model, list(found.sites), feeds, ones), baseline, 1e-6)
        for number, site in enumerate(joined):
            unit = (7 * number + 3) % site.width
            zeroed = masked(model, [site], feeds, {site.name: np.arange(site.width) != unit})
            close(zeroed, ran(multiplied(model, site, unit), feeds, "y")[0])


@pytest.mark.parametrize(("name", "exporter"), UNWRITTEN)
def test_a_network_that_torch_refuses_is_refused(name, exporter, tmp_path):
    with pytest.raises(Exception, match="not supported"):
        opened(name, exporter, tmp_path)


def test_the_page_has_a_row_for_each_network():
    table = PAGE.read_text().partition("|---|")[2].splitlines()[1:]
    assert [line.split("|")[1].strip() for line in dict.fromkeys(table)] == [
        name for name in ZOO for _ in range(ROWS.get(name, 1))
    ]


def test_the_page_of_operators_is_that_of_the_rules():
    assert operators.PAGE.read_text() == operators.page(), "run: python -m tests.zoo.operators"


@pytest.mark.parametrize("name", ZOO)
def test_a_thinner_network_is_one_whose_consumers_read_zeros(name, tmp_path):
    feeds = feeds_of(name)
    for exporter in EXPORTERS[1:]:
        path = tmp_path / "m.onnx"
        path.write_bytes(exported(name, exporter))
        model = infer_shapes_by_running(load(path, {}), Device(threads=1))
        found = find_sites(model)
        groups = find_groups(model, found)
        keep = surgery.drawn(groups, seed=len(name))
        thin = narrow(model, found, keep)
        onnx.checker.check_model(ir.to_proto(thin), full_check=True)
        (wanted,) = surgery.run(surgery.masked_consumers(model, found, keep), feeds)
        close(surgery.run(thin, feeds)[0], wanted)
        left = sum(int(flags.sum()) for flags in keep.values())
        assert left < sum(site.width for site in found.sites) or not groups.free.any()


def test_no_part_of_a_split_may_leave_whole(tmp_path):
    """The values of an attention are the last third of one layer's units."""
    path = tmp_path / "m.onnx"
    path.write_bytes(exported("GPT-like", "legacy 17"))
    model = infer_shapes_by_running(load(path, {}), Device(threads=1))
    found = find_sites(model)
    keep = {found.sites[0].name: np.arange(24) < 16}
    with pytest.raises(ModelError, match="nothing would stay of a part"):
        narrow(model, found, keep)
