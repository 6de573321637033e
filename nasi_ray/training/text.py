"""What the command says of a finished training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasi_ray.display.formats import plural


def result_line(content: Mapping[str, Any], uri: str) -> str:
    """The verdict, where the model lies, and how to load it.

    Args:
        content: Of ``result.json``.
        uri: The run directory.
    """
    return f"{verdict(content)}; in {uri}: nasi_ray.load_model({uri!r})"


def verdict(content: Mapping[str, Any]) -> str:
    """What was trained, on what, and how good it is."""
    cells = "" if content["num_cells"] is None else f", {plural(content['num_cells'], 'cell')}"
    tested = "held-out" if "holdout" in content else "test"
    best, count = content["best"], content["parameters"]
    size = f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count / 1e3:.1f} k"
    better = f" (best: {best['top1']:.2f} % after epoch {best['epoch']})"
    return (
        f"{content['space']} cell, C={content['init_channels']}{cells}, "
        f"{size} parameters, trained by recipe {content['recipe']} on "
        f"{content['num_train_images']} images of {content['data']} at {content['image_size']} px "
        f"for {plural(content['epochs'], 'epoch')}: top-1 {content['top1']:.2f} %, top-5 "
        f"{content['top5']:.2f} % of {content['num_test_images']} {tested} images"
        f"{better if best['top1'] > content['top1'] else ''}"
    )
