from __future__ import annotations

from typing import Any

import pytest

from nasi_ray.tables.model_metrics import Evaluation, decode_model_metrics


def test_decodes_what_the_protobuf_package_encodes(official: Any) -> None:
    data = official.encode_metrics(
        [official.evaluation(0.0, 0.1, 0.125), official.evaluation(108.0, 0.9375, 0.93, 1800.25)],
        trainable_parameters=2_694_282,
    )
    metrics = decode_model_metrics(data)
    assert metrics.trainable_parameters == 2_694_282
    assert metrics.evaluations == (
        Evaluation(0.0, 10.0, 1.0, 0.1, 0.125),
        Evaluation(108.0, 1800.25, 1.0, 0.9375, 0.93),
    )


def test_unknown_fields_are_skipped(official: Any) -> None:
    data = official.encode_metrics([official.evaluation(4.0, 0.5, 0.5)])
    varint, double, text, fixed32 = b"\x48\x96\x01", b"\x51" + bytes(8), b"\x5a\x02hi", b"\x65abcd"
    extended = varint + double + data + text + fixed32
    assert decode_model_metrics(extended) == decode_model_metrics(data)


def test_every_cut_is_noticed(official: Any) -> None:
    data = official.encode_metrics([official.evaluation(4.0, 0.5, 0.5)])
    whole_without_total_time = len(data) - 9
    for size in range(whole_without_total_time):
        with pytest.raises(ValueError, match=r"cut off|have no"):
            decode_model_metrics(data[:size])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no evaluation_data or no trainable_parameters"),
        (b"\x10\x05", "no evaluation_data"),
        (b"\x08\x05", "field 1 of wire type 0"),
        (b"\x12\x01a", "field 2 of wire type 2"),
        (b"\x0a\x02\x08\x01", "evaluation_data have field 1 of wire type 0"),
        (b"\x0a\x09\x09" + bytes(8), "evaluation_data have no field 2"),
        (b"\x0b", "unknown wire type 3"),
        (b"\x10" + b"\xff" * 10, "number of over 10 bytes"),
    ],
)
def test_what_is_not_the_message_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_model_metrics(data)


def test_negative_parameter_counts_are_refused(official: Any) -> None:
    data = official.encode_metrics([official.evaluation(4.0, 0.5, 0.5)], trainable_parameters=-1)
    with pytest.raises(ValueError, match="negative or over 31 bits"):
        decode_model_metrics(data)
