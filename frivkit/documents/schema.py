"""JSON Schemas of documents, made of their types."""

import ast
import inspect
import re
import sys
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from frivkit.documents.details import DetailTypes
from frivkit.documents.fields import Items, Limits, TextForm

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def json_schema(document: type, details: Mapping[str, DetailTypes] | None = None) -> dict[str, Any]:
    """Return the JSON Schema of a document.

    Keys that the schema does not name are allowed: later versions of frivkit may add them.

    Args:
        document: Its type, of which ``schema`` has one value, such as ``frivkit.plan/1``.
        details: By metric the types of its details, for documents with measurements.

    Example:
        >>> from frivkit.documents.files import PlanDocument
        >>> json_schema(PlanDocument)["$id"]
        'urn:frivkit:schema:plan:1'
    """
    schemas = _Schemas()
    root = schemas.of_part(document)
    for metric, types in (details or {}).items():
        rules = schemas.parts["MeasurementPart"].setdefault("allOf", [])
        rules += schemas.of_detail(metric, types)
    kind, _, version = kind_of(document).rpartition("/")
    head = {"$schema": DIALECT, "$id": f"urn:frivkit:schema:{kind.partition('.')[2]}:{version}"}
    parts = {name: part for name, part in schemas.parts.items() if part is not root}
    return head | root | {"$defs": parts}


def kind_of(document: type) -> str:
    """Return the kind and the version of a document, such as ``frivkit.plan/1``."""
    (kind,) = get_args(get_type_hints(document)["schema"])
    return str(kind)


def keys_of(part: type) -> dict[str, Any]:
    """Return the types of the keys of a part with their ranges, by key."""
    return get_type_hints(part, include_extras=True)


def summary_of(part: type) -> str:
    """Return what a part is, in Markdown."""
    text = inspect.cleandoc(part.__doc__ or "").partition("\nAttributes:\n")[0]
    return " ".join(text.split())


def meanings_of(part: type) -> dict[str, str]:
    """Return the meanings of the keys of a part, in Markdown, by key.

    Example:
        >>> from frivkit.documents.parts import SettingPart
        >>> meanings_of(SettingPart)["value"]
        'Its value as a text.'
    """
    found: dict[str, str] = {}
    for base in _bases(part):
        found |= meanings_of(base)
    text = inspect.cleandoc(part.__doc__ or "").partition("\nAttributes:\n")[2]
    for key, meaning in re.findall(r"^    (\w+): ((?:.+\n?(?!    \w+: ))+)", text, re.MULTILINE):
        found[key] = " ".join(meaning.split())
    return found


def _bases(part: type) -> list[type]:
    """Return the parts that a part extends; before Python 3.12 only its source names them."""
    (defined,) = ast.parse(inspect.getsource(part)).body
    assert isinstance(defined, ast.ClassDef)  # noqa: S101  # for the type checker
    names = [base.id for base in defined.bases if isinstance(base, ast.Name)]
    return [getattr(sys.modules[part.__module__], name) for name in names if name != "TypedDict"]


class _Schemas:
    """Schemas of types.

    Attributes:
        parts: The schemas of the parts that were met, by name.
    """

    def __init__(self) -> None:
        self.parts: dict[str, dict[str, Any]] = {}

    def of_part(self, part: type) -> dict[str, Any]:
        """Return the schema of a part, and keep it."""
        if part.__name__ not in self.parts:
            schema: dict[str, Any] = {"type": "object", "description": _plain(summary_of(part))}
            self.parts[part.__name__] = schema
            meanings = meanings_of(part)
            schema["properties"] = {
                key: self.of(value) | {"description": _plain(meanings[key])}
                for key, value in keys_of(part).items()
            }
            if required := [key for key in schema["properties"] if key in part.__required_keys__]:  # type: ignore[attr-defined]
                schema["required"] = required
            if {"scope", "layer"} <= set(schema["properties"]):
                schema["allOf"] = [_LAYER_IS_NAMED]
        return self.parts[part.__name__]

    def of(self, hint: Any) -> dict[str, Any]:
        """Return the schema of a type."""
        if is_typeddict(hint):
            self.of_part(hint)
            return {"$ref": f"#/$defs/{hint.__name__}"}
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is None:
            found: dict[str, Any] = {"type": PLAIN[hint]}
        elif origin is Literal:
            found = {"const": arguments[0]} if len(arguments) == 1 else {"enum": list(arguments)}
        elif origin in (Union, UnionType):
            found = {"anyOf": [self.of(each) for each in arguments]}
        elif origin is list:
            found = {"type": "array", "items": self.of(arguments[0])}
        elif origin is dict:
            found = {"type": "object", "additionalProperties": self.of(arguments[1])}
        else:  # Annotated or NotRequired
            found = self.of(arguments[0])
            for limits in arguments[1:] if origin is Annotated else ():
                found |= _limits(limits)
        return found

    def of_detail(self, metric: str, types: DetailTypes) -> list[dict[str, Any]]:
        """Return rules on the value and the detail of the measurements of a metric."""
        return [
            {
                "if": {"properties": {"metric": {"const": metric}, "scope": {"const": scope}}},
                "then": {"properties": {"value": self.of(types.value), "detail": self.of(detail)}},
            }
            for scope, detail in (("network", types.network), ("layer", types.layer))
            if detail is not None
        ]


_LAYER_IS_NAMED = {
    "if": {"properties": {"scope": {"const": "network"}}},
    "then": {"properties": {"layer": {"type": "null"}}},
    "else": {"properties": {"layer": {"type": "string"}}},
}


def _limits(found: Any) -> dict[str, Any]:
    if isinstance(found, Limits):
        low = "exclusiveMinimum" if found.open_low else "minimum"
        high = "exclusiveMaximum" if found.open_high else "maximum"
        return {low: found.low} | ({} if found.high is None else {high: found.high})
    if isinstance(found, Items):
        most = {} if found.most is None else {"maxItems": found.most}
        return {"minItems": found.least} | most
    return {"pattern": found.pattern} if isinstance(found, TextForm) else {}


def _plain(markdown: str) -> str:
    """Return Markdown without its links."""
    return LINK.sub(r"\1", markdown)
