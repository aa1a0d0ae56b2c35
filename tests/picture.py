"""The sites, couplings and skips of a network as text."""

from textwrap import dedent

from frivkit.graph.model import Model
from frivkit.graph.sites.site_map import find_sites

OUT = "its units are the model's outputs"
MET = "where no units lie along their axis"


def picture(model: Model, output: str | None = None, concats: tuple[str, ...] = ()) -> str:
    found = find_sites(model, output, concats)
    operators = {value.name: node.op_type for node in model.graph for value in node.outputs}
    layers = {site.name: site.layer for site in found.sites}
    lines = []
    for site in found.sites:
        places = "x".join(map(str, site.spatial)) or "-"
        axis = "" if site.axis == 1 else f" on axis {site.axis}"
        producers = "" if len(site.producers) == 1 else f" by {' '.join(site.producers)}"
        kind = f"{site.op}>{operators[site.name]}"
        lines.append(
            f"{site.layer}: {kind} {site.width}{axis}, {places}{producers}"
            f" -> {' '.join(site.consumers) or 'nobody'}"
        )
        lines += [f"! {reason}" for reason in site.not_followed]
    for coupling in found.couplings:
        for merge_point in coupling.merge_points:
            parts = [
                layers[part.site] + (f"+{part.offset}" if part.offset else "")
                for part in merge_point.parts
            ]
            lines.append(f"= {merge_point.kind} {' '.join(parts)}")
    for skip in found.skipped:
        lines.append(f"- {skip.node}: {skip.reason}")
    return "\n".join(lines)


def written_out(text: str) -> str:
    """Return a picture without indentation and abbreviations."""
    return dedent(text).strip().replace("OUT", OUT).replace("MET", MET)
