"""Keys: what makes two results the same result."""

import hashlib
import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import frivkit
from frivkit.cache import Cache, Key
from tests.cachekit import KEY, store

TEXT = st.text(st.characters(codec=None), max_size=8)
KEYS = st.builds(Key, TEXT, TEXT, TEXT, TEXT, TEXT, extra=st.dictionaries(TEXT, TEXT, max_size=3))


@given(KEYS, KEYS)
def test_two_keys_share_a_digest_only_if_they_are_equal(one: Key, other: Key) -> None:
    assert (one.digest == other.digest) == (one == other)


@given(KEYS, st.sampled_from(["model", "data", "site", "selector", "what"]), TEXT)
def test_any_changed_field_changes_the_digest(key: Key, name: str, value: str) -> None:
    changed = replace(key, **{name: value})
    assert (changed.digest != key.digest) == (value != getattr(key, name))


@given(KEYS, TEXT, TEXT)
def test_any_changed_extra_changes_the_digest(key: Key, name: str, value: str) -> None:
    before = dict(key.extra)
    after = before | {name: value}
    assert (replace(key, extra=after).digest != key.digest) == (after != before)


@given(TEXT, TEXT)
def test_text_moved_to_the_next_field_changes_the_digest(left: str, right: str) -> None:
    whole, parts = Key(left + right, "", "", "", ""), Key(left, right, "", "", "")
    assert (whole.digest == parts.digest) == (right == "")


def test_the_digest_covers_every_field_and_both_versions() -> None:
    document = json.loads(KEY.json)
    assert set(document) == {f.name for f in fields(Key)} | {"encoding-version", "frivkit"}
    assert KEY.digest == hashlib.sha256(KEY.json.encode()).hexdigest()


def test_another_version_of_frivkit_or_of_the_format_misses(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(cache)
    with monkeypatch.context() as patch:
        patch.setattr(frivkit, "__version__", "99.0")
        assert cache.get(KEY) is None
    with monkeypatch.context() as patch:
        patch.setattr("frivkit.cache.key.VERSION", "99")
        assert cache.get(KEY) is None
    found = cache.get(KEY)
    assert found is not None
    found.close()


def test_extra_does_not_depend_on_order_or_kind_and_keys_can_be_hashed() -> None:
    mapping = replace(KEY, extra={"b": "2", "a": "1"})
    pairs = replace(KEY, extra=(("a", "1"), ("b", "2")))
    assert mapping == pairs
    assert len({mapping, pairs}) == 1


def test_a_key_of_anything_but_text_is_refused() -> None:
    with pytest.raises(TypeError, match="not of 3"):
        Key("m", "d", "s", "u", 3)  # type: ignore[arg-type]  # what a caller may get wrong
    with pytest.raises(TypeError, match=r"not of 1\.5"):
        replace(KEY, extra={"t": 1.5})
    with pytest.raises(ValueError, match="once"):
        replace(KEY, extra=(("a", "1"), ("a", "2")))
