from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasi_ray.errors import DataError
from nasi_ray.tables.tfrecord import MAX_RECORD_BYTES, crc32c, mask_crc, read_records


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"", 0x00000000),
        (b"a", 0xC1D04330),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_checksums_are_the_published_ones(data: bytes, crc: int) -> None:
    assert crc32c(data) == crc


@given(
    size=st.sampled_from([0, 1, 2, 3, 4, 5, 1022, 1023, 1024, 1025, 1027, 3000]), seed=st.binary()
)
def test_checksum_agrees_with_the_bitwise_definition(size: int, seed: bytes) -> None:
    data = ((seed or b"\1") * size)[:size]
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    assert crc32c(data) == crc ^ 0xFFFFFFFF


def test_records_come_with_number_and_offset(official: Any) -> None:
    contents = [b"first", b"", b"third record" * 500]
    file = io.BytesIO(b"".join(map(official.frame, contents)))
    records = list(read_records(file))
    assert [r.data for r in records] == contents
    assert [r.number for r in records] == [0, 1, 2]
    assert [r.offset for r in records] == [0, 21, 37]


def test_empty_file_has_no_records() -> None:
    assert list(read_records(io.BytesIO())) == []


def test_every_cut_is_noticed_at_the_record_it_falls_in(official: Any) -> None:
    whole = official.frame(b"first") + official.frame(b"second")
    for size in range(1, len(whole)):
        number, start = (0, 0) if size < 21 else (1, 21)
        if size == 21:
            continue
        records = read_records(io.BytesIO(whole[:size]))
        for _ in range(number):
            next(records)
        with pytest.raises(DataError, match=f"record {number} at byte {start} is cut off"):
            next(records)


def test_every_flipped_byte_is_noticed(official: Any) -> None:
    whole = official.frame(b"first") + official.frame(b"second")
    for position in range(21, len(whole)):
        broken = bytearray(whole)
        broken[position] ^= 0x10
        records = read_records(io.BytesIO(bytes(broken)))
        assert next(records).data == b"first"
        part = "a length that fails its" if position < 21 + 12 else "data that fail their"
        with pytest.raises(DataError, match=f"record 1 at byte 21 has {part} checksum"):
            next(records)


def test_absurd_length_takes_no_memory() -> None:
    length = struct.pack("<Q", MAX_RECORD_BYTES + 1)
    file = io.BytesIO(length + struct.pack("<I", mask_crc(crc32c(length))))
    with pytest.raises(DataError, match=f"record 0 at byte 0 has {MAX_RECORD_BYTES + 1} bytes"):
        next(read_records(file))
