"""``nasi-ray confidence``."""

from __future__ import annotations

from collections.abc import Sequence

from nasi_ray.commands.output import print_lines


def main(argv: Sequence[str]) -> int:
    """Parse, run, print; the exit status."""
    from nasi_ray.replay.settings import parse_confidence, read_settings

    job = parse_confidence(argv)
    from nasi_ray.replay.confidence import confidence_lines, confidence_of

    print_lines("\n".join(confidence_lines(confidence_of(job.runs, read_settings(job.set)))))
    return 0
