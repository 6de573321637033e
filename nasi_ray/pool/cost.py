"""What a run cost: node-hours of each node type times the user's prices.

Pure: the caller lists the nodes (``ray.nodes()``) from time to time. Only the time between the
first and the last observation counts; the start-up of nodes, disks, traffic and storage do not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nasi_ray.errors import ConfigError
from nasi_ray.files import SETTINGS_BYTES, read_text, user_path

LOCAL_TYPE = "local"
_LABELS = ("ray.io/node-group", "ray.io/instance-type")
_S_PER_HOUR = 3600.0
_HIGHEST_USD = 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeUse:
    """Use of one node type."""

    num_nodes: int
    """Number of different nodes."""
    hours: float
    """Node-hours of all these nodes together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceList:
    """Prices of node types."""

    usd_per_hour: Mapping[str, float]
    """Node type -> USD per node-hour (≥ 0)."""
    source: str
    """Where the prices come from, for people."""


def load_prices(path: str) -> PriceList:
    """Read a price list, a JSON object such as ``{"head": 0.19, "gpu_spot": 0.45}``.

    Args:
        path: A file on this machine.

    Raises:
        ConfigError: If it cannot be read, or is not an object of numbers from 0 to 1e6.
    """
    try:
        text = read_text(user_path(path), SETTINGS_BYTES)
        content = json.loads(text, object_pairs_hook=_unique)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the price list {path}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the price list {path} is not valid JSON: {error}") from error
    if not isinstance(content, dict) or not content:
        raise ConfigError(
            f"the price list {path} must be a JSON object of node types and their USD per hour, "
            'such as {"gpu_spot": 0.45}'
        )
    for name, price in content.items():
        if not _is_price(price):
            raise ConfigError(
                f"the price list {path} has {json.dumps(price)[:40]} for {name!r}; "
                "a price is a number of USD per hour, from 0 to 1e6"
            )
    return PriceList(usd_per_hour={k: float(v) for k, v in content.items()}, source=path)


def _is_price(price: object) -> bool:
    if isinstance(price, bool) or not isinstance(price, int | float):
        return False
    return 0 <= price <= _HIGHEST_USD  # false for NaN


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name!r} appears twice")
    return dict(pairs)


def node_type(node: Mapping[str, Any]) -> str:
    """The type of a node: its group in the cluster's configuration, else its instance type.

    Args:
        node: An entry of ``ray.nodes()``.
    """
    labels = node.get("Labels") or {}
    for name in _LABELS:
        if labels.get(name):
            return str(labels[name])
    return LOCAL_TYPE


class CostMeter:
    """Measures the lifetimes of nodes from repeated observations of the cluster.

    A node counts from the first observation that has it to the first that does not, or to the last
    one. At each end this is off by at most the time between two observations.
    """

    def __init__(self) -> None:
        self._types: dict[str, str] = {}
        self._seconds: dict[str, float] = {}
        self._alive: tuple[str, ...] = ()
        self._seen_s = 0.0

    def observe(self, nodes: Sequence[Mapping[str, Any]], now_s: float) -> None:
        """Add one observation.

        Args:
            nodes: The entries of ``ray.nodes()``, with or without dead nodes.
            now_s: Time of the observation, in seconds of a monotonic clock.

        Raises:
            ValueError: If ``now_s`` is before the last observation.
        """
        if self._types and now_s < self._seen_s:
            raise ValueError(f"an observation at {now_s} s after one at {self._seen_s} s")
        for node_id in self._alive:
            self._seconds[node_id] += now_s - self._seen_s
        alive = {str(node["NodeID"]): node_type(node) for node in nodes if node["Alive"]}
        for node_id, kind in alive.items():
            self._types.setdefault(node_id, kind)
            self._seconds.setdefault(node_id, 0.0)
        self._alive = tuple(alive)
        self._seen_s = now_s

    def use(self) -> dict[str, NodeUse]:
        """Node type -> its use, most hours first."""
        uses = {
            kind: NodeUse(
                num_nodes=sum(k == kind for k in self._types.values()),
                hours=sum(s for n, s in self._seconds.items() if self._types[n] == kind)
                / _S_PER_HOUR,
            )
            for kind in self._types.values()
        }
        return dict(sorted(uses.items(), key=lambda item: (-item[1].hours, item[0])))

    def summary(self, prices: PriceList) -> str:
        """One line: ``cost: gpu_spot 1.20 h (3 nodes), head 0.60 h: about $0.94 (prices: p.json)``.

        Types without a price are named and left out of the sum.

        Args:
            prices: The user's price list.
        """
        use = self.use()
        parts = [f"{kind} {_hours(one.hours)}{_nodes(one.num_nodes)}" for kind, one in use.items()]
        unpriced = [kind for kind in use if kind not in prices.usd_per_hour]
        usd = sum(
            one.hours * prices.usd_per_hour[kind]
            for kind, one in use.items()
            if kind in prices.usd_per_hour
        )
        total = "unknown" if len(unpriced) == len(use) else f"about ${usd:.2f}"
        missing = f", no price for {', '.join(unpriced)}" if unpriced else ""
        spent = ", ".join(parts) or "no nodes seen"
        return f"cost: {spent}: {total}{missing} (prices: {prices.source})"


def _hours(hours: float) -> str:
    return f"{hours:.2f} h" if hours >= 0.1 or hours == 0 else f"{hours * 60:.1f} min"


def _nodes(num: int) -> str:
    return "" if num == 1 else f" ({num} nodes)"
