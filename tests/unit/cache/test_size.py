"""Sizes as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frivkit.cache import format_size, parse_size
from frivkit.errors import UsageError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048576", 1 << 20),
        ("12B", 12),
        ("500MB", 500_000_000),
        ("500mb", 500_000_000),
        ("2GiB", 2 << 30),
        ("2G", 2 << 30),
        (" 1.5 KiB ", 1536),
        ("1TB", 10**12),
    ],
)
def test_sizes_are_read_in_thousands_or_in_1024s(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GB", "-1GB", "1,5GB", "1e3", "12iB", "5 PB", "nan", "1GB2", "٣GB"]
)
def test_a_malformed_size_is_a_usage_error_that_names_it(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_size(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["8388608TiB", "9" * 30, "9" * 400 + "GiB"])
def test_a_size_that_no_machine_has_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="too large a size"):
        parse_size(text)


@given(st.integers(0, 1 << 50))
def test_a_written_size_is_read_back_to_its_printed_precision(size: int) -> None:
    assert parse_size(format_size(size)) == pytest.approx(size, rel=0.06)
