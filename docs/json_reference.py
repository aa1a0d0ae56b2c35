"""The reference of the JSON documents, made of their types: pages in Markdown, and JSON Schemas.

``python docs/json_reference.py`` writes the schemas into ``docs/schema``.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, is_typeddict

from frivkit.documents.advice import AdviceDocument
from frivkit.documents.analysis import AnalysisDocument
from frivkit.documents.comparison import ComparisonDocument
from frivkit.documents.compression import CompressionDocument
from frivkit.documents.details import CurveDetail, DetailTypes
from frivkit.documents.fields import Items, Limits, MeasuredIn, TextForm
from frivkit.documents.files import Int8Document, PlanDocument
from frivkit.documents.frontier import FrontierDocument
from frivkit.documents.inspection import InspectionDocument
from frivkit.documents.installation import CacheDocument, DoctorDocument, PluginsDocument
from frivkit.documents.schema import json_schema, keys_of, kind_of, meanings_of, summary_of
from frivkit.documents.sweep import SweepDocument
from frivkit.documents.verification import VerificationDocument
from frivkit.hooks.registry import installed
from frivkit_featurevis.documents import VisualizationDocument

DOCUMENTS: dict[str, type] = {
    kind_of(each).removeprefix("frivkit.").removesuffix("/1"): each
    for each in (
        AnalysisDocument,
        InspectionDocument,
        CompressionDocument,
        Int8Document,
        FrontierDocument,
        PlanDocument,
        VerificationDocument,
        AdviceDocument,
        ComparisonDocument,
        SweepDocument,
        VisualizationDocument,
        PluginsDocument,
        DoctorDocument,
        CacheDocument,
    )
}
"""The types of the documents, by name."""

NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}


def details() -> dict[str, DetailTypes]:
    """Return the types of the details of the built-in metrics, by metric."""
    registry = installed()
    metrics = {name: registry.load("metrics", name) for name in registry.offers("metrics")}
    return {name: found.documented for name, found in metrics.items() if found.documented}


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schemas of all documents, by name."""
    return {
        name: json_schema(document, details() if name == "analysis" else None)
        for name, document in DOCUMENTS.items()
    }


def document_markdown(name: str) -> str:
    """Return the tables of a document: its own, then those of its parts that no other has."""
    shared = _shared()
    parts = [part for part in _parts(DOCUMENTS[name]) if part.__name__ not in shared]
    return "\n".join(line for part in parts for line in _section(part, top=part is parts[0]))


def shared_markdown() -> str:
    """Return the tables of the parts that several documents have."""
    return "\n".join(line for part in _shared().values() for line in _section(part))


def details_markdown() -> str:
    """Return the tables of the details of the built-in metrics."""
    shared = _shared()
    parts = [part for part in _detail_parts() if part.__name__ not in shared]
    return "\n".join([*_metrics(), "", *(line for part in parts for line in _section(part))])


def _metrics() -> Iterator[str]:
    yield from (
        "| metric | value | detail of a layer | detail of the network |",
        "|---|---|---|---|",
    )
    for name, types in details().items():
        cells = [type_text(types.value), *map(_link, (types.layer, types.network))]
        yield f"| `{name}` | {' | '.join(cells)} |"


def _detail_parts() -> list[type]:
    """Return the details of all metrics and the parts within them."""
    found: dict[str, type] = {}
    _parts(CurveDetail, found)
    for types in details().values():
        for detail in (types.layer, types.network):
            if detail is not None:
                _parts(detail, found)
    return list(found.values())


def _shared() -> dict[str, type]:
    """Return the parts that several documents have, by name."""
    of: dict[str, list[type]] = {}
    for parts in (*map(_parts, DOCUMENTS.values()), _detail_parts()):
        for part in parts:
            of.setdefault(part.__name__, []).append(part)
    roots = {document.__name__ for document in DOCUMENTS.values()}
    return {name: found[0] for name, found in of.items() if len(found) > 1 and name not in roots}


def _parts(part: type, found: dict[str, type] | None = None) -> list[type]:
    """Return a part and all parts within it, documents within it left out."""
    found = {} if found is None else found
    found[part.__name__] = part
    for hint in keys_of(part).values():
        for inner in _within(hint):
            if inner.__name__ not in found and not inner.__name__.endswith("Document"):
                _parts(inner, found)
    return list(found.values())


def _within(hint: Any) -> Iterator[type]:
    if is_typeddict(hint):
        yield hint
    for argument in get_args(hint):
        if not isinstance(argument, str):
            yield from _within(argument)


def _section(part: type, *, top: bool = False) -> Iterator[str]:
    heading = [] if top else [f"### {title(part)}"]
    yield from (f"(json-{part.__name__.lower()})=", *heading, "", summary_of(part), "")
    yield from ("| key | type | unit | meaning |", "|---|---|---|---|")
    meanings = meanings_of(part)
    for key, hint in keys_of(part).items():
        optional = "" if key in part.__required_keys__ else ", may be absent"
        cells = (f"`{key}`", type_text(hint) + optional, unit_text(hint), _linked(meanings[key]))
        yield f"| {' | '.join(cells)} |"
    yield ""


def title(part: type) -> str:
    """Return the heading of a part.

    Example:
        >>> from frivkit.documents.parts import LayerGraphPart
        >>> title(LayerGraphPart)
        'Layer graph'
    """
    words = re.findall("[A-Z][a-z0-9]*", part.__name__.removesuffix("Part"))
    return " ".join(words).capitalize()


def _link(part: type | None) -> str:
    return "" if part is None else f"[{title(part)}](#json-{part.__name__.lower()})"


def type_text(hint: Any) -> str:
    """Return a type in words, in Markdown.

    Example:
        >>> type_text(list[int | None])
        'array of (integer, or null)'
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if is_typeddict(hint):
        text = _link(hint)
    elif origin is None:
        text = NAMES[hint]
    elif origin is Literal:
        text = " or ".join("null" if x is None else f"`{json.dumps(x)}`" for x in arguments)
    elif origin in (Union, UnionType):
        text = ", or ".join(map(type_text, arguments))
    elif origin is list:
        text = f"array of {_bracketed(arguments[0])}"
    elif origin is dict:
        text = f"object of {_bracketed(arguments[1])}"
    else:  # Annotated or NotRequired
        limits = arguments[1:] if origin is Annotated else ()
        text = type_text(arguments[0]) + "".join(map(_limits_text, limits))
    return text


def _bracketed(hint: Any) -> str:
    text = type_text(hint)
    if hint in NAMES:
        return f"{text}s"
    return f"({text})" if get_origin(hint) in (Union, UnionType, Annotated) else text


def _limits_text(found: Any) -> str:
    if isinstance(found, Limits):
        low = f"{'above ' if found.open_low else ''}{found.low:g}"
        if found.high is None:
            return f", {low}" if found.open_low else f", {low} or more"
        return f", {low} to {'below ' if found.open_high else ''}{found.high:g}"
    if isinstance(found, Items):
        return f" ({found.least}{'' if found.most else ' or more'})"
    return f": {found.words}" if isinstance(found, TextForm) else ""


def unit_text(hint: Any) -> str:
    """Return the unit of the numbers of a type, empty if they have none.

    Example:
        >>> from frivkit.documents.fields import Milliseconds
        >>> unit_text(Milliseconds | None)
        'ms'
    """
    units = [
        each.unit for each in getattr(hint, "__metadata__", ()) if isinstance(each, MeasuredIn)
    ]
    inner = [] if is_typeddict(hint) or get_origin(hint) is Literal else get_args(hint)
    units += [found for each in inner if (found := unit_text(each))]
    return units[0] if units else ""


def _linked(markdown: str) -> str:
    """Return Markdown of a page in ``docs`` as Markdown of a page in ``docs/reference``."""
    return re.sub(r"\]\((?=[\w-]+\.md)", "](../", markdown).replace("|", "\\|")


def write(folder: Path) -> None:
    """Write the schemas into a folder, a file each."""
    for name, schema in schemas().items():
        text = json.dumps(schema, indent=1, ensure_ascii=False)
        (folder / f"{name}-1.schema.json").write_text(text + "\n")


if __name__ == "__main__":
    write(Path(__file__).parent / "schema")
