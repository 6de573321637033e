"""Write a trained model for other programs: safetensors, Python, torch.export, ONNX, a model card.

    python jobs/export.py RUN ...

The same as ``nasi-ray export``; ``--help`` lists the options.
"""

import sys

from nasi_ray.command import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
