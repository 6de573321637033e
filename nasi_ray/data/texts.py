"""Many short texts in two arrays: small to pickle, and shared by forked processes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nasi_ray.arrays import IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """Names of files, one after the other."""

    content: npt.NDArray[np.uint8]
    """The bytes of all names."""
    ends: IntArray
    """shape (texts,), where each one ends"""

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """Keep texts; those that are no UTF-8 stay what they are in the file system."""
        content, ends = bytearray(), [0]
        for text in texts:
            content += os.fsencode(text)
            ends.append(len(content))
        return cls(np.frombuffer(bytes(content), dtype=np.uint8), np.array(ends[1:], np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        start = self.ends[index - 1] if index > 0 else 0
        return os.fsdecode(self.content[start : self.ends[index]].tobytes())
