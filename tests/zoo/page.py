"""The page of networks: what is found in each file of the zoo.  ``python -m tests.zoo.page``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from frivkit.graph.model import Model
from frivkit.graph.sites.groups import find_groups
from frivkit.graph.sites.producers import SkipCause
from frivkit.graph.sites.site_map import find_sites
from tests.zoo.files import EXPORTERS, UNWRITTEN, ZOO, opened

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"

HEAD = """# Networks and exporters

This page lists what frivkit finds in {count} kinds of networks.
Each was exported by torch's tracing exporter at opsets 13 and 17, and by its newer one at opset 18 (torch 2.13).
The networks, in `tests/zoo`, are small copies of the kinds that people train.
[Layers of pretrained networks](reproduction/pretrained/README.md) has networks of published packages.
What is found in each was worked out by hand from its code (`tests/zoo/pictures.py`).
The table is written by `python -m tests.zoo.page`, and a test compares it with the results of the code.

For every file the tests check that masks which keep every unit change no output by more than 1e-6 of the largest.
They also check that a masked unit has the effect, to 1e-5, of a multiplication by zero in the file, and of zeros in its weights if these do the same.
From the files of opsets 17 and 18 they remove units, and compare the smaller network, to 1e-5, with one whose consumers read zeros.

*Sites* are hook points with units that are analysed.
*Couplings* are sets of sites whose units meet.
*Locked* counts layers of which no unit can be removed by `frivkit compress`.
*Skipped* are nodes with weights that are not analysed.
`frivkit inspect` gives the reasons for each, also in your own file.
All exporters give the same sites and couplings.

| network | exporter | sites | units | couplings | locked | skipped, apart from the last layer |
|---|---|---|---|---|---|---|
"""  # noqa: E501  # a sentence a line


def outline(model: Model) -> tuple[Sequence[object], Sequence[object], int]:
    """Return sites, merge points and the number of skipped nodes, without names."""
    found = find_sites(model)
    order = [site.name for site in found.sites]
    merge_points = [
        (merge_point.kind, {(order.index(part.site), part.offset) for part in merge_point.parts})
        for coupling in found.couplings
        for merge_point in coupling.merge_points
    ]
    return (
        [(site.op, site.axis, site.shape) for site in found.sites],
        merge_points,
        len(found.skipped),
    )


def rows(name: str, models: Mapping[str, Model]) -> list[str]:
    """Return the rows of one network, exporters with the same one together."""
    same: dict[tuple[str, ...], list[str]] = {}
    for exporter in EXPORTERS:
        same.setdefault(_cells(models.get(exporter)), []).append(exporter)
    return [
        f"| {name} | {', '.join(exporters)} | {' | '.join(cells)} |"
        for cells, exporters in same.items()
    ]


def _cells(model: Model | None) -> tuple[str, ...]:
    if model is None:
        return "-", "-", "-", "-", "torch cannot write its attention before opset 14"
    found = find_sites(model)
    groups = find_groups(model, found)
    held = sum(groups.reason(site.name) is not None for site in found.sites)
    others = [skip for skip in found.skipped if skip.cause is not SkipCause.MODEL_OUTPUT]
    counted = {skip.op: sum(other.op == skip.op for other in others) for skip in others}
    skipped = ", ".join(f"{count} {op}" for op, count in counted.items()) or "none"
    units = sum(site.width for site in found.sites)
    return str(len(found.sites)), str(units), str(len(found.couplings)), str(held), skipped


def page() -> str:
    """Return the page."""
    lines = []
    with TemporaryDirectory() as folder:
        for name in ZOO:
            written = [e for e in EXPORTERS if (name, e) not in UNWRITTEN]
            lines += rows(name, {e: opened(name, e, Path(folder)) for e in written})
    return HEAD.format(count=len(ZOO)) + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
