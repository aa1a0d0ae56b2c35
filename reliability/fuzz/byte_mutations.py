"""Mutations of bytes, for files of any kind."""

import struct

from numpy.random import Generator

from reliability.fuzz.values import integer, one_of

WORDS = (b"\0", b"\xff", b"\x7f\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff")


def mutated_bytes(content: bytes, rng: Generator) -> bytes:
    """Return bytes after one to three mutations: changed, cut, repeated, moved, overwritten."""
    changed = bytearray(content)
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        _mutate(changed, rng)
    return bytes(changed)


def _mutate(content: bytearray, rng: Generator) -> None:
    size = len(content)
    if size == 0:
        content.extend(rng.bytes(8))
        return
    # headers are at the start or at the end, and most interesting
    reach = one_of(rng, (size, size, min(size, 64), min(size, 512)))
    at = int(rng.integers(reach))
    if rng.random() < 0.25:
        at = size - 1 - at
    length = int(rng.integers(1, 1 + min(64, size - at)))
    way = rng.choice(7, p=(0.25, 0.15, 0.2, 0.1, 0.1, 0.1, 0.1))  # lengths stay in most cases
    if way == 0:
        content[at] ^= 1 << int(rng.integers(8))
    elif way == 1:
        content[at] = int(rng.integers(256))
    elif way == 2:
        form = one_of(rng, ("<i", ">i", "<q", ">q", "<h", ">H"))
        bits = 8 * struct.calcsize(form)
        value = integer(rng) % (1 << bits)
        content[at : at + bits // 8] = value.to_bytes(bits // 8, "big" if ">" in form else "little")
    elif way == 3:
        del content[at:]
    elif way == 4:
        del content[at : at + length]
    elif way == 5:
        content[at:at] = content[at : at + length] * int(rng.integers(1, 4))
    else:
        content[at:at] = one_of(rng, WORDS)
