"""Search a cell: sample architectures at initialization, estimate α, select and draw the cell.

    ray job submit --working-dir . -- python jobs/search.py ...

The same as ``nasi-ray search``; ``--help`` lists the options.
"""

import sys

from nasi_ray.command import main

if __name__ == "__main__":
    sys.exit(main(["search", *sys.argv[1:]]))
