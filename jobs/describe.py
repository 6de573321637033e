"""Count the parameters and multiply-adds of a cell's network, and draw the cell.

    python jobs/describe.py --genotype FILE ...

The same as ``nasi-ray describe``; ``--help`` lists the options.
"""

import sys

from nasi_ray.command import main

if __name__ == "__main__":
    sys.exit(main(["describe", *sys.argv[1:]]))
