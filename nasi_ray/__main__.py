"""``python -m nasi_ray``: as the command ``nasi-ray``."""

import sys

from nasi_ray.command import main

sys.exit(main())
