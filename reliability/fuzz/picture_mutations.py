"""Mutations of pictures: sizes and chunks of PNG with right checksums, and bytes of any format."""

import struct
import zlib

from numpy.random import Generator

from reliability.fuzz.byte_mutations import mutated_bytes
from reliability.fuzz.values import integer, one_of

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def mutated_picture(content: bytes, rng: Generator) -> bytes:
    """Return a picture with bytes changed, or a PNG of other chunks with right checksums."""
    if not content.startswith(SIGNATURE) or rng.random() < 0.3:
        return mutated_bytes(content, rng)
    chunks = _chunks(content)
    index = int(rng.integers(len(chunks)))
    kind, body = chunks[index]
    way = rng.integers(5)
    if way == 0:
        changed = bytearray(chunks[0][1])
        at = int(rng.integers(2)) * 4
        changed[at : at + 4] = struct.pack(">I", integer(rng) % (1 << 32))
        chunks[0] = b"IHDR", bytes(changed)
    elif way == 1:
        changed = bytearray(chunks[0][1])
        changed[int(rng.integers(8, 13))] = int(rng.integers(256))
        chunks[0] = b"IHDR", bytes(changed)
    elif way == 2:
        chunks[index] = kind, mutated_bytes(body, rng)
    elif way == 3:
        del chunks[index]
    else:
        more = one_of(rng, ((b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6))), (kind, body)))
        chunks.insert(index, more)
    return SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], len(SIGNATURE)
    while at < len(content):
        (size,) = struct.unpack_from(">I", content, at)
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    return chunks
