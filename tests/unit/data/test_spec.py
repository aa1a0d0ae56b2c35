"""The grammar of data specs, and how their values are read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frivkit.data.spec import DataSpec
from frivkit.errors import UsageError

SCALARS = st.characters(exclude_categories=["Cs"])
NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]*", fullmatch=True)
SPECS = st.builds(
    DataSpec,
    NAMES,
    st.none() | st.text(SCALARS, min_size=1),
    st.dictionaries(NAMES, st.text(SCALARS | st.sampled_from("&=?%+#:/ "))),
)


@given(SPECS)
def test_spec_survives_being_written_and_read(spec):
    text = str(spec)
    assert DataSpec.parse(text) == spec
    assert str(DataSpec.parse(text)) == text


@given(st.text())
def test_any_text_is_a_spec_or_a_usage_error(text):
    try:
        spec = DataSpec.parse(text)
    except UsageError:
        return
    assert DataSpec.parse(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "name", "path", "options"),
    [
        ("digits", "digits", None, {}),
        ("digits?", "digits", None, {}),
        ("npz:a.npz", "npz", "a.npz", {}),
        (r"npz:C:\data\a b.npz?n=3", "npz", r"C:\data\a b.npz", {"n": "3"}),
        ("npz:/srv/50%20off/a:b.npz", "npz", "/srv/50%20off/a:b.npz", {}),
        ("npz:what?.npz?", "npz", "what?.npz", {}),
        ("npz:what?.npz?n=3", "npz", "what?.npz", {"n": "3"}),
        ("digits?scale=1%2F255&mean=1e+5,2", "digits", None, {"scale": "1/255", "mean": "1e+5,2"}),
        ("digits?note=a=b", "digits", None, {"note": "a=b"}),
        ("digits?note=", "digits", None, {"note": ""}),
    ],
)
def test_spec_is_split_at_first_colon_and_last_question_mark(text, name, path, options):
    assert DataSpec.parse(text) == DataSpec(name, path, options)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "''"),
        ("data.npz", "'data.npz'"),
        ("/tmp/data.npz", "'/tmp/data.npz'"),  # noqa: S108  # only a text
        (r"C:\data.npz", "'C'"),
        ("npz:", "nothing follows the colon"),
        ("npz:?n=1", "nothing follows the colon"),
        ("digits?n", "'n' is not of the form key=value"),
        ("digits?=3", "'=3' is not of the form key=value"),
        ("digits?n=1&&scale=2", "'' is not of the form key=value"),
        ("digits?n=1&n=2", "'n' is given twice"),
        ("digits?N=1", "'N' cannot be a key"),
    ],
)
def test_malformed_spec_says_what_is_wrong(text, said):
    with pytest.raises(UsageError) as caught:
        DataSpec.parse(text)
    assert said in str(caught.value)


def test_equal_specs_write_their_keys_in_one_order():
    assert str(DataSpec.parse("digits?split=test&n=3")) == "digits?n=3&split=test"
    assert hash(DataSpec.parse("digits?a=1&b=2")) == hash(DataSpec.parse("digits?b=2&a=1"))


def test_undecodable_bytes_in_a_value_survive():
    spec = DataSpec.parse("digits?note=%FF")
    assert str(spec) == "digits?note=%FF"


def test_unknown_key_is_refused_with_the_nearest_ones():
    spec = DataSpec.parse("digits?splt=test")
    with pytest.raises(UsageError, match=r"no key of data source digits is named 'splt'.*split"):
        spec.check_keys("split")
    DataSpec.parse("digits?split=test&n=3&scale=2").check_keys("split")


@pytest.mark.parametrize("value", ["-1", "11", "1.5", "1e3", "", " 1", "1_0", "9" * 30, "٣"])
def test_whole_numbers_are_plain_and_within_bounds(value):
    with pytest.raises(UsageError, match=r"n=.* is not a whole number from 0 to 10"):
        DataSpec("digits", None, {"n": value}).whole("n", default=1, most=10)
    assert DataSpec("digits", None, {"n": "007"}).whole("n", default=1, most=10) == 7
    assert DataSpec("digits").whole("n", default=1) == 1


def test_choice_lists_what_there_is():
    spec = DataSpec.parse("digits?split=val")
    with pytest.raises(UsageError, match="split=val is not one of train, test"):
        spec.choice("split", ("train", "test"), "test")
    assert spec.choice("other", ("train", "test"), "test") == "test"


def test_sizes_and_numbers_are_read_from_their_lists():
    spec = DataSpec.parse("digits?size=3x32x32&mean=1/4,-2e-1,3")
    assert spec.sizes("size") == (3, 32, 32)
    assert spec.numbers("mean") == (0.25, -0.2, 3.0)
    assert spec.sizes("crop") is None
    assert spec.numbers("std") is None


def test_a_path_is_needed_or_refused():
    with pytest.raises(UsageError, match="write npz:PATH"):
        DataSpec("npz").needed_path("a file")
    with pytest.raises(UsageError, match="takes no path, but got 'here'"):
        DataSpec("digits", "here").refuse_path()
