from __future__ import annotations

import math

import pytest

from nasi_ray.display.formats import (
    format_bytes,
    format_millions,
    format_number,
    format_rate,
    format_seconds,
    format_uncertain,
    one_line,
    plural,
    printable,
    wrapped,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00:00"),
        (59.6, "0:01:00"),
        (3723, "1:02:03"),
        (360000, "100:00:00"),
        (-1, "0:00:00"),
        (None, "?"),
        (math.inf, "?"),
        (math.nan, "?"),
    ],
)
def test_seconds_read_as_hours_minutes_seconds(seconds: float | None, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (73_306, "0.0733 M"),
        (801_600, "0.802 M"),
        (3_300_000, "3.3 M"),
        (999.4e6, "999 M"),
        (999.6e6, "1,000 M"),
        (5.8366e9, "5,840 M"),
        (1.2e12, "1,200,000 M"),
    ],
)
def test_millions_have_three_digits_and_no_exponent(count: float, text: str) -> None:
    assert format_millions(count) == text


@pytest.mark.parametrize(
    ("per_second", "text"),
    [
        (3.4, "3.4/s"),
        (9.96, "10/s"),
        (123.4, "123/s"),
        (1.0, "1.0/s"),
        (17 / 60, "17/min"),
        (1.5 / 60, "1.5/min"),
        (5 / 3600, "5.0/h"),
        (0.0, "0.0/h"),
        (None, "?/s"),
        (math.nan, "?/s"),
    ],
)
def test_slow_rates_are_per_minute_or_hour(per_second: float | None, text: str) -> None:
    assert format_rate(per_second) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.6, "1 kB"),
        (1.95e9, "1.95 GB"),
        (499_123_456, "499 MB"),
        (5e15, "5000 TB"),
        (None, "?"),
        (math.inf, "?"),
    ],
)
def test_bytes_have_three_digits_and_a_unit(count: float | None, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.012345, 0.0041, "0.0123 ± 0.0041"),
        (12.345, 0.99, "12.35 ± 0.99"),
        (1234.5, 56.7, "1234 ± 57"),
        (0.5, 0.0, "0.5 ± 0"),
        (1e-9, 2e-9, "1e-09 ± 2e-09"),
        (0.5, None, "0.5 ± ?"),
        (None, None, "? ± ?"),
        (0.5, math.nan, "0.5 ± ?"),
    ],
)
def test_the_error_decides_the_digits(value: float | None, error: float | None, text: str) -> None:
    assert format_uncertain(value, error) == text


def test_numbers_have_four_digits() -> None:
    assert [format_number(v) for v in (123.456, 0.00012345, None, math.inf)] == [
        "123.5",
        "0.0001234",
        "?",
        "?",
    ]


def test_a_message_becomes_one_line_without_control_characters() -> None:
    text = "\x1b[31mworker 3\x1b[0m died:\n\tOOM\x07 \x1b]0;title\x07π\r\n"
    assert one_line(text) == "worker 3 died: OOM π"


def test_printable_text_keeps_its_spaces() -> None:
    assert printable("  a\x1b[2J  b\n\x07\u202e\udcffc") == "  a  bc"


def test_prose_is_wrapped_at_80_columns_between_words() -> None:
    lines = wrapped("word-and-word " * 30, indent="  ", hanging="    ")
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("  word")
    assert all(line.startswith("    word") for line in lines[1:])
    assert " ".join(lines).split() == ["word-and-word"] * 30


def test_a_word_longer_than_a_line_stands_alone_and_whole() -> None:
    path = "/a-long-folder" * 10
    assert wrapped(f"written: {path} and more\x1b[2J") == ["written:", path, "and more"]


def test_one_is_singular() -> None:
    assert [plural(n, "worker") for n in (0, 1, 2)] == ["0 workers", "1 worker", "2 workers"]
