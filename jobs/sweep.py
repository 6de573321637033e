"""Search with many seeds and settings side by side, and find the cell they agree on.

    ray job submit --working-dir . -- python jobs/sweep.py ...

The same as ``nasi-ray sweep``; ``--help`` lists the options.
"""

import sys

from nasi_ray.command import main

if __name__ == "__main__":
    sys.exit(main(["sweep", *sys.argv[1:]]))
