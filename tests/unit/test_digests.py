"""Digests at the end of files: no changed byte goes unseen, and no file waits to be read."""

import os
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frivkit.digests import LINE_BYTES, append_digest, digest_state, split_digest, with_digest
from frivkit.errors import ModelError
from frivkit.files import check_utf8, read_regular


@given(content=st.binary(max_size=300), data=st.data())
def test_one_changed_byte_gives_a_wrong_digest_or_the_same_content(content, data):
    stored = bytearray(with_digest(content))
    at = data.draw(st.integers(0, len(stored) - 1))
    stored[at] ^= data.draw(st.integers(1, 255))
    found, state = split_digest(bytes(stored))
    if state == "missing":  # the line itself was hit
        assert bytes(stored[: len(content)]) == content
        assert found == bytes(stored)
    else:
        assert state == "wrong"


@pytest.mark.parametrize("size", [0, 1, LINE_BYTES - 1, LINE_BYTES, (1 << 20) + 17])
def test_a_file_gets_the_digest_that_its_bytes_get(size, tmp_path):
    content = np.random.default_rng(size).bytes(size)
    path = tmp_path / "file"
    path.write_bytes(content)
    assert digest_state(path) == "missing"
    append_digest(path)
    assert path.read_bytes() == with_digest(content)
    assert digest_state(path) == "right"
    path.write_bytes(b"x" + path.read_bytes())
    assert digest_state(path) == "wrong"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_regular_file_and_does_not_wait(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "link", tmp_path):
        watchdog = threading.Timer(20, os._exit, (1,))
        watchdog.start()
        with pytest.raises(OSError, match="no regular file"):
            read_regular(path)
        watchdog.cancel()


def test_a_path_that_is_no_utf8_is_named_as_the_cause(tmp_path):
    with pytest.raises(ModelError, match=r"'.*\\udcff.onnx' is no UTF-8, .*rename"):
        check_utf8(tmp_path / os.fsdecode(b"\xff.onnx"), ModelError)
