"""The reference of JSON and its schemas are made of types, which say what each key means."""

import re
import sys
from pathlib import Path

import jsonschema
import pytest

from frivkit.documents.fields import Fraction, Limits, Milliseconds, TwoOf
from frivkit.documents.schema import keys_of, meanings_of, summary_of
from tests.contract import SCHEMAS

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "reference/json.md").read_text()


@pytest.fixture(scope="module")
def reference():
    sys.path.insert(0, str(DOCS))
    import json_reference

    yield json_reference
    sys.path.remove(str(DOCS))


def parts(reference):
    """Return every part of every document and of every detail, by name."""
    found: dict[str, type] = {}
    for document in reference.DOCUMENTS.values():
        reference._parts(document, found)
    return found | {part.__name__: part for part in reference._detail_parts()}


def test_published_schemas_are_those_of_the_types(reference):
    found = reference.schemas()
    assert found.keys() == SCHEMAS.keys()
    stale = [name for name, schema in found.items() if schema != SCHEMAS[name]]
    assert stale == [], "run python docs/json_reference.py"
    for name, schema in found.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["properties"]["schema"]["const"] == f"frivkit.{name}/1"


def test_every_key_has_a_meaning_and_no_other(reference):
    for name, part in parts(reference).items():
        meanings = meanings_of(part)
        assert meanings.keys() == keys_of(part).keys(), name
        assert [m for m in (summary_of(part), *meanings.values()) if m[-1] != "."] == [], name


def test_page_has_every_document_and_schema(reference):
    assert re.findall(r"^```\{document\} (\w+)$", PAGE, re.MULTILINE) == list(reference.DOCUMENTS)
    linked = re.findall(r"\(\.\./schema/(\w+)-1\.schema\.json\)", PAGE)
    assert linked == list(reference.DOCUMENTS)
    markdown = [reference.details_markdown(), reference.shared_markdown()]
    markdown += map(reference.document_markdown, reference.DOCUMENTS)
    targets = re.findall(r"^\((json-\w+)\)=$", "\n".join(markdown), re.MULTILINE)
    assert sorted(targets) == sorted(f"json-{name.lower()}" for name in parts(reference))


def test_merge_points_of_the_page_are_those_of_the_type(reference):
    from typing import get_args

    from frivkit.documents.inspection import MergePointPart

    table = PAGE.partition("| `kind` |")[2].partition("\n\n")[0]
    assert {*re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)} == {
        *get_args(keys_of(MergePointPart)["kind"])
    }


def test_types_in_words(reference):
    text, unit = reference.type_text, reference.unit_text
    assert text(Fraction | None) == "number, 0 to 1, or null"
    assert text(TwoOf[Milliseconds]) == "array of (number, 0 or more) (2)"
    assert (unit(TwoOf[Milliseconds]), unit(int)) == ("ms", "")
    assert Limits(0, 1, open_low=True) != Limits(0, 1)
