"""Damaged bytes that follow from a seed, and what must come of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from nasi_ray.errors import NasiRayError

TOKENS = [
    b"\\ud800", b"[" * 5000, b"NaN", b"Infinity", b"1e999", b"-1", b"null", b"9" * 5000, b'"',
    b"{", b"}", b"\0", b"\xff", b"\x1b[2J", b"\n", b"true", b"PAR1", b"\xff\xff\xff\x7f",
]  # fmt: skip


def mutants(data: bytes, number: int, *, seed: int) -> Iterator[bytes]:
    """Bits flipped, ranges removed, doubled or replaced, and tokens put in."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        changed = bytearray(data)
        for _ in range(int(rng.integers(1, 4))):
            start, end = sorted(int(i) for i in rng.integers(0, len(changed) + 1, 2))
            match int(rng.integers(0, 5)):
                case 0 if start < len(changed):
                    changed[start] ^= 1 << int(rng.integers(8))
                case 1:
                    del changed[start : min(end, start + 40)]
                case 2:
                    changed[start:start] = changed[start : min(end, start + 40)]
                case 3:
                    changed[start : start + 8] = rng.bytes(8)
                case _:
                    changed[start:start] = TOKENS[int(rng.integers(len(TOKENS)))]
        yield bytes(changed)


def is_read(call: Callable[[], object]) -> bool:
    """Whether a call returns; else its error must be one of ours, in one line of bounded length."""
    try:
        call()
    except NasiRayError as error:
        line = str(error)
        assert 0 < len(line) < 3000
        assert "\n" not in line
        return False
    return True
