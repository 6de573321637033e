"""``nasi-ray replay``."""

from __future__ import annotations

from collections.abc import Sequence

from nasi_ray.commands.output import print_line, print_lines


def main(argv: Sequence[str]) -> int:
    """Parse, run, print; the exit status."""
    from nasi_ray.replay.settings import parse_replay

    job = parse_replay(argv)
    from nasi_ray.replay.grid import parse_grid
    from nasi_ray.replay.job import run_replay
    from nasi_ray.replay.text import replay_lines

    grid = parse_grid(job.grid)
    result = run_replay(job.runs, grid, table=job.table, metric=job.metric, out=job.out)
    print_lines("\n".join(replay_lines(result.content)))
    if result.uri is not None:
        print_line(f"written to {result.uri}: {', '.join(result.files)}")
    return 0
