"""What all pages share: templates, the policy that lets only their own parts run, the document.

Names come from model files and are not trusted.  Templates and ElementTree escape them, and a
content security policy allows one script and one style, known by their digests, and no request.
"""

import json
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from frivkit.report import tables
from frivkit.report.figures import NAME
from frivkit.report.format import file_name, short

MOST_ROWS = 1000
"""Rows of a table; the JSON document has the rest."""
PANEL = 36
"""Characters of a layer's name above a small chart."""
LARGEST = 400_000
"""Bytes of a document that is embedded whole; values of single units are left out of others."""


def render(template: str, document: Mapping[str, Any], **values: Any) -> str:
    """Return a page of HTML.

    Args:
        template: The name of the template beside this module.
        document: What the page shows, which is embedded to be saved.
        values: What the template takes.
    """
    return environment().get_template(template).render(**embedded(document), **values)


@cache
def environment() -> Environment:
    """Return the template environment: texts are escaped, names shortened, digits grouped."""
    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["name"] = lambda text: short(text, NAME)
    environment.filters["panel"] = lambda text: short(text, PANEL)
    environment.filters["plain"] = tables.plain
    environment.filters["grouped"] = tables.grouped
    script, style = _source("page.js"), _source("page.css")
    environment.globals |= {
        "most_rows": MOST_ROWS,
        "page_script": script,
        "page_style": style,
        "policy": policy(script, style),
    }
    return environment


def policy(script: str, style: str) -> str:
    """Return the content security policy of a page with these two parts.

    Example:
        >>> policy("a", "b").partition(";")[0]
        "default-src 'none'"
    """
    digests = [b64encode(sha256(text.encode()).digest()).decode() for text in (script, style)]
    return (
        f"default-src 'none'; img-src data:; script-src 'sha256-{digests[0]}'; "
        f"style-src 'sha256-{digests[1]}'; base-uri 'none'; form-action 'none'"
    )


def embedded(document: Mapping[str, Any]) -> dict[str, Any]:
    r"""Return what a page embeds: the document as text, a name for its file, and what is missing.

    A text in a script of type ``application/json`` is data and is never run; ``<`` is written as an
    escape, so that it cannot end the element.

    Example:
        >>> print(embedded({"schema": "frivkit.analysis/1", "n": "</script>"})["json_text"])
        {"schema":"frivkit.analysis/1","n":"\u003c/script>"}
    """
    text, shortened = _compact(document), False
    if len(text) > LARGEST and "measurements" in document:
        text, shortened = _compact(_without_units(document)), True
    kind = str(document["schema"]).removeprefix("frivkit.").partition("/")[0]
    path = _path(document)
    return {
        "json_text": text.replace("<", "\\u003c"),
        "json_name": f"{file_name(path)}.{kind}.json" if path else f"{kind}.json",
        "json_shortened": shortened,
    }


def _path(document: Mapping[str, Any]) -> str:
    model = document.get("model") or document.get("original")
    return str(model["path"]) if model else ""


def _compact(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


def _without_units(document: Mapping[str, Any]) -> dict[str, Any]:
    rows = [
        {**row, "detail": {k: v for k, v in row["detail"].items() if k != "per_unit"}}
        for row in document["measurements"]
    ]
    return {**document, "measurements": rows}


def _source(name: str) -> str:
    return files("frivkit.report").joinpath(name).read_text(encoding="utf-8")
