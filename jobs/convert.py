"""Make tables of true accuracies from the benchmarks' official files, and show what one has.

    ray job submit --working-dir . -- python jobs/convert.py ...

The same as ``nasi-ray convert``; ``--help`` lists the options.
"""

import sys

from nasi_ray.command import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
