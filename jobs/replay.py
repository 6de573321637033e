"""Say which cell every setting of a grid selects, from stored records alone.

    python jobs/replay.py RUN ... --grid nu=20:2000:log mu=0,1,2

The same as ``nasi-ray replay``; ``--help`` lists the options.
"""

import sys

from nasi_ray.command import main

if __name__ == "__main__":
    sys.exit(main(["replay", *sys.argv[1:]]))
