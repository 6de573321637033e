"""Published figures to compare with. Nothing here was measured by this package."""

from __future__ import annotations

TABLE_2: dict[str, dict[str, str]] = {
    "true": {"s1": "7.3 ± 1.1", "s2": "7.2 ± 0.4", "s3": "7.2 ± 0.6"},
    "random-labels": {"s1": "6.8 ± 0.3", "s2": "7.0 ± 0.4", "s3": "7.5 ± 1.4"},
    "random-data": {"s1": "6.6 ± 0.2", "s2": "7.5 ± 0.7", "s3": "7.3 ± 0.9"},
}
"""NASI (ICLR 2022), Table 2: data mode -> space -> test error in percent on CIFAR-10, mean and
standard deviation of 5 searches of one epoch of steps."""

RERUNS: dict[str, dict[str, str]] = {
    "40 steps": {"s1": "9.6 ± 5.4", "s2": "7.7 ± 0.8", "s3": "9.9 ± 3.9"},
    "360 steps": {"s1": "6.8 ± 0.4", "s2": "7.1 ± 0.3", "s3": "7.4 ± 1.3"},
}
"""The authors' code run again by a later paper on normalised generalisation error: number of steps
-> space -> test error in percent on CIFAR-10."""

NB201_TEST_ERROR = "6.45 ± 0.10"
"""100 - 93.55, NASI's CIFAR-10 test accuracy on NAS-Bench-201 as later papers report it (200
epochs); the paper itself has no such figure."""


def paper_error(mode: str, space: str) -> str:
    """Table 2's figure; ``not published`` where there is none."""
    return TABLE_2.get(mode, {}).get(space, "not published")
