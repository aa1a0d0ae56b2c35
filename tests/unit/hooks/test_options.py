from dataclasses import dataclass
from typing import Literal

import pytest

from frivkit.errors import UsageError
from frivkit.hooks.options import NoOptions, distribute, parse_options, split_pairs


@dataclass(frozen=True)
class Net:
    depth: int = 1
    init: Literal["he", "normal"] = "he"
    bias: bool = True


@dataclass(frozen=True)
class Recipe:
    lr: float
    note: str = ""
    depth: int = 0


def test_each_type_is_read_from_its_text():
    given = {"depth": "3", "init": "normal", "bias": "No"}
    assert parse_options(Net, given) == Net(depth=3, init="normal", bias=False)
    assert parse_options(Recipe, {"lr": "-1e-2", "note": "1"}) == Recipe(lr=-0.01, note="1")


def test_defaults_stand_for_what_is_not_given():
    assert parse_options(Net, {}) == Net()
    assert parse_options(NoOptions, {}) == NoOptions()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("depth=1.5", "whole number"),
        ("depth=", "whole number"),
        ("init=He", "he, normal"),
        ("bias=maybe", "true or false"),
        ("bias=1", "true or false"),
        ("lr=fast", "finite number"),
        ("lr=nan", "finite number"),
        ("lr=inf", "finite number"),
    ],
)
def test_text_of_another_type_is_refused_with_what_would_do(text, wanted):
    given = split_pairs([text])
    with pytest.raises(UsageError, match=wanted) as caught:
        parse_options(Recipe if "lr" in given else Net, given)
    assert text in str(caught.value)


def test_option_without_default_must_be_given():
    with pytest.raises(UsageError, match="lr=VALUE"):
        parse_options(Recipe, {"note": "x"})


def test_misspelt_option_is_refused_with_its_neighbour():
    with pytest.raises(UsageError, match="did you mean depth"):
        parse_options(Net, {"deph": "1"})
    with pytest.raises(UsageError, match="known: none"):
        parse_options(NoOptions, {"depth": "1"})


def test_field_of_a_type_that_no_text_gives_is_the_author_s_mistake():
    @dataclass
    class Wrong:
        sizes: tuple[int, ...] = ()

    with pytest.raises(TypeError, match="sizes"):
        parse_options(Wrong, {"sizes": "1"})


def test_options_go_to_whoever_has_them():
    given = {"lr": "1", "init": "he", "depth": "2"}
    assert distribute(given, Net, Recipe) == (
        {"init": "he", "depth": "2"},
        {"lr": "1", "depth": "2"},
    )


def test_option_that_nobody_has_is_refused():
    with pytest.raises(UsageError, match="did you mean bias"):
        distribute({"biass": "1"}, Net, Recipe)


@pytest.mark.parametrize("pairs", [["lr"], ["=1"], [""], ["lr=1", "lr=2"]])
def test_malformed_or_doubled_pairs_are_refused(pairs):
    with pytest.raises(UsageError, match=r"key=value|twice"):
        split_pairs(pairs)


def test_value_may_hold_anything():
    assert split_pairs(["note=a=b c", "lr="]) == {"note": "a=b c", "lr": ""}
