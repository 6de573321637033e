"""Read TFRecord files without TensorFlow: framing and checksums, one record at a time.

A record is its length (8 bytes, little endian), the masked CRC-32C of those 8 bytes, the data, and
the masked CRC-32C of the data.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from nasi_ray.errors import DataError

MAX_RECORD_BYTES = 1 << 26
"""A longer record counts as corrupt, before memory is allocated for it."""

_POLYNOMIAL = 0x82F63B78
_CHUNK = 1024
_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Record:
    """One record and where it is."""

    number: int
    """From 0."""
    offset: int
    """Position of its first byte in the file."""
    data: bytes

    def error(self, reason: str) -> DataError:
        """An error that names this record."""
        return DataError(f"record {self.number} at byte {self.offset} {reason}")


def read_records(file: BinaryIO) -> Iterator[Record]:
    """Read records from the start of a file, holding one in memory.

    Raises:
        DataError: At the first record that is cut off or fails its checksum; names its number and
            byte offset.
    """
    number = offset = 0
    while header := file.read(_HEADER.size):
        if len(header) < _HEADER.size:
            raise _error(number, offset, f"is cut off: {len(header)} bytes of its header")
        length, length_crc = _HEADER.unpack(header)
        if mask_crc(crc32c(header[:8])) != length_crc:
            hint = "" if number else " (or this is not a TFRecord file)"
            raise _error(number, offset, f"has a length that fails its checksum{hint}")
        if length > MAX_RECORD_BYTES:
            raise _error(number, offset, f"has {length} bytes, over {MAX_RECORD_BYTES}")
        body = file.read(length + _FOOTER.size)
        if len(body) < length + _FOOTER.size:
            missing = length + _FOOTER.size - len(body)
            raise _error(number, offset, f"is cut off: {missing} bytes are missing")
        data = body[:length]
        if mask_crc(crc32c(data)) != _FOOTER.unpack(body[length:])[0]:
            raise _error(number, offset, "has data that fail their checksum")
        yield Record(number, offset, data)
        number += 1
        offset += _HEADER.size + len(body)


def _error(number: int, offset: int, reason: str) -> DataError:
    return Record(number, offset, b"").error(f"{reason}; fetch the file again")


def mask_crc(crc: int) -> int:
    """The mask that TFRecord files put on a checksum."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of some bytes."""
    tables, crc = _tables(), 0xFFFFFFFF
    for start in range(0, len(data), _CHUNK):
        crc = _advance(tables, crc, data[start : start + _CHUNK])
    return crc ^ 0xFFFFFFFF


def _advance(tables: npt.NDArray[np.uint32], crc: int, chunk: bytes) -> int:
    # The checksum is linear: what a byte adds depends only on its value and its distance from the
    # end, and the state so far acts as if xor-ed onto the first four bytes.
    padded = np.frombuffer(chunk.ljust(4, b"\0"), dtype=np.uint8).copy()
    padded[:4] ^= np.frombuffer(struct.pack("<I", crc), dtype=np.uint8)
    size = len(chunk)
    distance = np.arange(size - 1, -1, -1)
    result = int(np.bitwise_xor.reduce(tables[distance, padded[:size]]))
    return result ^ crc >> 8 * size if size < 4 else result


@cache
def _tables() -> npt.NDArray[np.uint32]:
    """What a byte adds, shape (distance from the end, value)."""
    step = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        step = np.where(step & 1, step >> 1 ^ np.uint32(_POLYNOMIAL), step >> 1).astype(np.uint32)
    tables = np.empty((_CHUNK, 256), dtype=np.uint32)
    tables[0] = step
    for i in range(1, _CHUNK):
        tables[i] = tables[i - 1] >> 8 ^ step[tables[i - 1] & 0xFF]
    return tables
