"""Mutations of bytes: what a damaged disk, a bad export or a hostile hand does to a file."""

from __future__ import annotations

import random
from collections.abc import Callable

ODD = (
    b'"', b"'", b"\n", b"\r", b"\r\n", b"\0", b",", b"\t", b"{", b"}", b"[", b"]", b":", b"-",
    b"9" * 400, b"1e999", b"nan", b"-inf", b"null", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf",
    b"\x1b]8;;x\x07", b"\xe2\x80\xae", b"\\ud800", b"[" * 5000, b'{"a":' * 2000, b"true", b"NaN",
    b"0x1F", b"2023-02-30", b"99999999999999999999", b"!!int ''", b"&a [*a]", b"\\",
)  # fmt: skip
"""Pieces that parsers stumble over."""


def flip(content: bytes, rng: random.Random) -> bytes:
    """Change one to eight bits."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(content: bytes, rng: random.Random) -> bytes:
    """Cut the end off."""
    return content[: rng.randrange(len(content) + 1)]


def insert(content: bytes, rng: random.Random) -> bytes:
    """Put an odd piece in."""
    place = rng.randrange(len(content) + 1)
    return content[:place] + rng.choice(ODD) + content[place:]


def overwrite(content: bytes, rng: random.Random) -> bytes:
    """Put random bytes over a part."""
    start = rng.randrange(len(content) + 1)
    size = rng.randint(1, 16)
    return content[:start] + rng.randbytes(size) + content[start + size :]


def duplicate(content: bytes, rng: random.Random) -> bytes:
    """Repeat a part."""
    start = rng.randrange(len(content) + 1)
    stop = rng.randint(start, min(len(content), start + 200))
    return content[:stop] + content[start:stop] * rng.randint(1, 3) + content[stop:]


def delete(content: bytes, rng: random.Random) -> bytes:
    """Take a part out."""
    start = rng.randrange(len(content) + 1)
    return content[:start] + content[start + rng.randint(1, 30) :]


def swap_lines(content: bytes, rng: random.Random) -> bytes:
    """Exchange two lines."""
    lines = content.split(b"\n")
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    return b"\n".join(lines)


def replace_field(content: bytes, rng: random.Random) -> bytes:
    """Replace a value of a text file, between separators, by an odd piece."""
    ends = [n for n, byte in enumerate(content) if byte in b',\t\n:{}[]"']
    if len(ends) < 2:
        return insert(content, rng)
    index = rng.randrange(len(ends) - 1)
    return content[: ends[index] + 1] + rng.choice(ODD) + content[ends[index + 1] :]


def clear(content: bytes, rng: random.Random) -> bytes:
    """Nothing, or random bytes."""
    return rng.randbytes(rng.choice((0, 1, 7, 100)))


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    flip, flip, truncate, insert, insert, overwrite, duplicate, delete, swap_lines,
    replace_field, replace_field, clear,
)  # fmt: skip


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Apply one to three mutations."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(MUTATIONS)(content, rng)
    return content
