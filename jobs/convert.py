"""Make tables of true accuracies from the benchmarks' official files, and show what one has.

    python jobs/convert.py nasbench101 nasbench_only108.tfrecord nasbench101.parquet --space s3
    python jobs/convert.py nasbench201 NATS-tss-v1_0-3ffb9-simple nasbench201.parquet
    python jobs/convert.py show nasbench101.parquet

Where the files are, and what every column is: docs/tables.md.
"""

from __future__ import annotations

import contextlib
import io
import sys

from nasi_ray.run.process import reporting_errors, stopping_once


def main() -> int:
    """Parse, run, print."""
    with reporting_errors(), stopping_once():
        # Imported here because Ctrl-C must work meanwhile, too.
        from nasi_ray.display.progress import make_progress
        from nasi_ray.tables.job import parse_convert, run_convert

        job = parse_convert(sys.argv[1:])
        with contextlib.closing(make_progress(sys.stderr)) as progress:
            lines = run_convert(job, progress)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # names of files may hold anything
        print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
