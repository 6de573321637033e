"""Say how sure each decision is in one run, or over several, and what they select together.

    python jobs/confidence.py RUN ...

The same as ``nasi-ray confidence``; ``--help`` lists the options.
"""

import sys

from nasi_ray.command import main

if __name__ == "__main__":
    sys.exit(main(["confidence", *sys.argv[1:]]))
