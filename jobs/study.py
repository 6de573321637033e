"""Study the method against tables of true accuracies: figures, tables, and every number.

    ray job submit --working-dir . -- python jobs/study.py ...

The same as ``nasi-ray study``; ``--help`` lists the options.
"""

import sys

from nasi_ray.command import main

if __name__ == "__main__":
    sys.exit(main(["study", *sys.argv[1:]]))
