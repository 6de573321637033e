"""Train the network of a cell on images, and keep model, metrics and checkpoints.

    ray job submit --working-dir . -- python jobs/train.py ...

The same as ``nasi-ray train``; ``--help`` lists the options.
"""

import sys

from nasi_ray.command import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
