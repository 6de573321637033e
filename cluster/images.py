"""Container images that cannot change under their name."""

from __future__ import annotations

import re

_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")


def is_pinned(image: object) -> bool:
    """Whether an image is named by its digest."""
    return _DIGEST.fullmatch(str(image)) is not None
