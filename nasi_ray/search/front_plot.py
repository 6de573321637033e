"""A picture of the best cells for each limit of the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasi_ray.display.figures import BLUE, ORANGE, new_figure, render


def front_files(result: Mapping[str, Any]) -> dict[str, bytes]:
    """The picture of the front; none where there is no front.

    Args:
        result: The content of ``result.json``.

    Returns:
        ``front.svg``, ``front.png`` -> content.
    """
    front = result.get("front")
    if not front:
        return {}
    figure, (panel,) = new_figure(1, size=(6.4, 4.0))
    sizes = [point["num_params"] / 1e6 for point in front]
    scores = [point["score"] for point in front]
    panel.plot(sizes, scores, color=BLUE, marker="o", drawstyle="steps-post", label="best cells")
    selected = [p for p in front if p["architecture"] == result.get("architecture")]
    if selected:
        at = selected[-1]
        panel.plot(
            [at["num_params"] / 1e6],
            [at["score"]],
            color=ORANGE,
            marker="D",
            markersize=9,
            linestyle="none",
            label="selected",
        )
    panel.set_xlabel("parameters of the final network, millions", fontsize=9)
    panel.set_ylabel(f"score ({result['objective']})", fontsize=9)
    title = f"{result['space']}, seed {result['seed']}, T={result['num_samples']}"
    panel.set_title(f"{title}: the best cell up to a size", fontsize=10)
    panel.legend(fontsize=8, frameon=False)
    drawn = render(figure, about={"Title": title})
    return {f"front.{kind}": data for kind, data in drawn.items()}
