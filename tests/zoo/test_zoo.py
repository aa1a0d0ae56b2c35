"""Sites and couplings of many kinds of networks, and that masks do to them what they say."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from frivkit.errors import ModelError
from frivkit.graph.sites.groups import find_groups
from frivkit.graph.sites.site_map import find_sites
from frivkit.graph.surgery.narrow import narrow
from frivkit.runtime.session import Device
from frivkit.runtime.shape_probe import infer_shapes_by_running
from frivkit_onnx.provider import load
from tests import surgery
from tests.picture import picture, written_out
from tests.zoo import operators
from tests.zoo.files import EXPORTERS, UNWRITTEN, ZOO, exported, opened_file
from tests.zoo.independent import Editable, ran
from tests.zoo.masks import Masked, check_masks, close
from tests.zoo.page import PAGE, outline, rows
from tests.zoo.pictures import PICTURES

pytestmark = pytest.mark.slow

COUNT = 5
OTHER_SKIPS = {("AlexNet with LRN", "dynamo 18")}  # its LRN in pieces has no If


ROWS = {"AlexNet with LRN": 2, "ViT": 2, "BERT-like": 2}
"""Networks whose exporters differ in what is left out, or of which one refuses."""


def feeds_of(name: str, count: int = COUNT) -> dict[str, np.ndarray]:
    known = ZOO[name]
    arrays = (tensor.numpy() for tensor in known.examples(count, seed=1))
    return dict(zip(known.names, arrays, strict=True))


@pytest.fixture(scope="session")
def opened(zoo_file):
    """Return a function that opens a network of the zoo as the command line does."""
    return lambda name, exporter: opened_file(zoo_file(name, exporter))


@pytest.mark.parametrize("name", ZOO)
def test_sites_are_those_worked_out_by_hand_and_masks_do_what_they_say(name, opened):
    """All of a network in one test, for its files take longest to write."""
    models = {
        exporter: opened(name, exporter)
        for exporter in EXPORTERS
        if (name, exporter) not in UNWRITTEN
    }
    assert picture(models["legacy 17"]) == written_out(PICTURES[name])
    wanted = outline(models["legacy 17"])
    for exporter, model in models.items():
        found = outline(model)
        assert found[:2] == wanted[:2], exporter
        assert (found[2] == wanted[2]) is ((name, exporter) not in OTHER_SKIPS)
        assert check_masks(model, find_sites(model), feeds_of(name), "y") > 0
    assert "\n".join(rows(name, models)) in PAGE.read_text(), "run: python -m tests.zoo.page"


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
def test_what_concats_join_can_be_layers(name, opened):
    feeds = feeds_of(name)
    for exporter in EXPORTERS:
        model = opened(name, exporter)
        apart, found = find_sites(model), find_sites(model, None, ("*",))
        joined = [site for site in found.sites if site.op == "Concat"]
        assert [site.width for site in joined] == JOINED[name]
        producers = sorted(w for site in apart.sites for w in site.producers)
        assert sorted(w for site in found.sites for w in site.producers) == producers
        (baseline,) = ran(ir.to_proto(model.ir), feeds, "y")
        ones = {site.name: np.ones(site.width, bool) for site in found.sites}
        close(Masked(model, found.sites, feeds, "y").run(ones), baseline, 1e-6)
        file = Editable(model, found, joined)
        for number, site in enumerate(joined):
            unit = (7 * number + 3) % site.width
            masked = Masked(model, [site], feeds, "y")
            zeroed = masked.run({site.name: np.arange(site.width) != unit})
            close(zeroed, file.zeroed(site, unit, feeds, "y")[0])


@pytest.mark.parametrize(("name", "exporter"), UNWRITTEN)
def test_a_network_that_torch_refuses_is_refused(name, exporter):
    with pytest.raises(Exception, match="not supported"):
        exported(name, exporter)


def test_the_page_has_a_row_for_each_network():
    table = PAGE.read_text().partition("|---|")[2].splitlines()[1:]
    assert [line.split("|")[1].strip() for line in dict.fromkeys(table)] == [
        name for name in ZOO for _ in range(ROWS.get(name, 1))
    ]


def test_the_page_of_operators_is_that_of_the_rules():
    assert operators.PAGE.read_text() == operators.page(), "run: python -m tests.zoo.operators"


@pytest.mark.parametrize("name", ZOO)
def test_a_thinner_network_is_one_whose_consumers_read_zeros(name, zoo_file):
    feeds = feeds_of(name)
    for exporter in EXPORTERS[1:]:
        path = zoo_file(name, exporter)
        model = infer_shapes_by_running(load(path, {}), Device(threads=1))
        found = find_sites(model)
        groups = find_groups(model, found)
        keep = surgery.drawn(groups, seed=len(name))
        compressed = narrow(model, found, keep)
        onnx.checker.check_model(ir.to_proto(compressed), full_check=True)
        (wanted,) = surgery.run(surgery.masked_consumers(model, found, keep), feeds)
        close(surgery.run(compressed, feeds)[0], wanted)
        left = sum(int(flags.sum()) for flags in keep.values())
        assert left < sum(site.width for site in found.sites) or not groups.free.any()


def test_no_part_of_a_split_may_leave_whole(zoo_file):
    """The values of an attention are the last third of one layer's units."""
    path = zoo_file("GPT-like", "legacy 17")
    model = infer_shapes_by_running(load(path, {}), Device(threads=1))
    found = find_sites(model)
    keep = {found.sites[0].name: np.arange(24) < 16}
    with pytest.raises(ModelError, match="nothing would stay of a part"):
        narrow(model, found, keep)
