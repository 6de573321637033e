"""Rank architectures by training-free proxies, and compare the ranking with their accuracies.

    ray job submit --working-dir . -- python jobs/rank.py ...

The same as ``nasi-ray rank``; ``--help`` lists the options.
"""

import sys

from nasi_ray.command import main

if __name__ == "__main__":
    sys.exit(main(["rank", *sys.argv[1:]]))
