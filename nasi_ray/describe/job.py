"""The description: counts of a cell's network, the widest network within limits, a picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from nasi_ray.describe.settings import DescribeJob
from nasi_ray.display.formats import plural, wrapped
from nasi_ray.display.tables import text_table
from nasi_ray.errors import ConfigError
from nasi_ray.files import user_path
from nasi_ray.networks.by_space import make_standalone
from nasi_ray.networks.genotype_network import GenotypeNetwork
from nasi_ray.run.counts import Counts, count
from nasi_ray.run.limits import largest_channels, parse_limits
from nasi_ray.run.plan import refuse_lost_place
from nasi_ray.run.subject import read_subject
from nasi_ray.spaces import TabularArchitecture, get_tabular_space
from nasi_ray.spaces.final_network import (
    MAX_CHANNELS,
    NETWORKS,
    FinalNetwork,
    final_network,
)
from nasi_ray.spaces.genotype import Genotype
from nasi_ray.spaces.network_costs import NetworkCost, costs_of
from nasi_ray.storage import LocalStorage

_MEANINGS = {
    "parameters": "without the auxiliary tower",
    "auxiliary_parameters": "of the tower, for training only",
    "madds": "multiply-adds, convolutions and linear",
    "activations": "elements of convolutions' outputs",
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Family:
    """The networks of one architecture, by their number of channels."""

    usual: int
    """Channels unless asked otherwise."""
    smallest: int
    """Fewest channels that the architecture can have."""
    cost: Callable[[int], NetworkCost]
    """Channels -> parameters and multiply-adds, in both of which it grows."""
    counts: Callable[[int], Counts]
    """Channels -> everything there is to count."""
    facts: dict[str, Any]
    """What else determines the network."""


def describe(job: DescribeJob) -> dict[str, Any]:
    """Count, and draw if asked to.

    Args:
        job: Settings, with a cell.

    Returns:
        JSON-ready: ``space``, the architecture's fields, ``network``, ``init_channels``,
        ``num_cells``, ``num_classes``, ``image_size`` (pixels), and the fields of ``Counts``.

    Raises:
        NasiRayError: For every failure that a user can cause.
    """
    space, architecture = read_subject(job.genotype, job.space, job.architecture)
    if job.picture is not None:
        refuse_lost_place("picture", job.picture)
        _draw(architecture, user_path(job.picture))
    if isinstance(architecture, Genotype):
        family = _final_networks(job, architecture)
    else:
        family = _benchmark_networks(job, space, architecture)
    channels = family.usual if job.init_channels == "auto" else job.init_channels
    if job.max_madds or job.max_params:
        channels = largest_channels(family.cost, *parse_limits(job), smallest=family.smallest)
    elif channels < family.smallest:
        raise ConfigError(f"init_channels is {channels}; it must be at least {family.smallest}")
    return {
        "space": space,
        **architecture.fields(),
        "network": job.network,
        "init_channels": channels,
        **family.facts,
        **dataclasses.asdict(family.counts(channels)),
    }


def _final_networks(job: DescribeJob, genotype: Genotype) -> _Family:
    num_cells = None if job.num_cells == "auto" else job.num_cells

    def network(channels: int) -> FinalNetwork:
        return final_network(job.network, init_channels=channels, num_cells=num_cells)

    def counts(channels: int) -> Counts:
        made = network(channels)
        return count(partial(GenotypeNetwork, genotype, made), image_size=made.image_size)

    usual = NETWORKS[job.network]
    facts = {
        "num_cells": network(usual.init_channels).num_cells,
        "num_classes": usual.num_classes,
        "image_size": usual.image_size,
    }
    return _Family(
        usual=usual.init_channels,
        smallest=usual.min_channels,
        cost=lambda channels: costs_of(genotype, network(channels)).total(genotype),
        counts=counts,
        facts=facts,
    )


def _benchmark_networks(job: DescribeJob, space: str, architecture: TabularArchitecture) -> _Family:
    if job.network == "imagenet":
        raise ConfigError(
            f"network is imagenet, but the benchmark of {space} has networks for images of 32 "
            "pixels only; give cifar10 or cifar100"
        )
    if job.num_cells != "auto":
        raise ConfigError(
            f"num_cells is {job.num_cells}, but the benchmark of {space} fixes it; leave it out"
        )
    shape = NETWORKS[job.network]

    @cache
    def counts(channels: int) -> Counts:
        if channels > MAX_CHANNELS:
            raise ConfigError(f"init_channels is {channels}; it must be at most {MAX_CHANNELS}")
        make = partial(
            make_standalone,
            space,
            architecture,
            num_classes=shape.num_classes,
            num_channels=channels,
        )
        return count(make, image_size=shape.image_size)

    def cost(channels: int) -> NetworkCost:
        found = counts(channels)
        return NetworkCost(found.parameters, found.madds)

    tabular = get_tabular_space(space)
    return _Family(
        usual=tabular.num_channels,
        smallest=tabular.min_channels,
        cost=cost,
        counts=counts,
        facts={"num_classes": shape.num_classes, "image_size": shape.image_size},
    )


def _draw(architecture: TabularArchitecture, path: Path) -> None:
    from nasi_ray.search.cell_plot import save_architecture_plot  # takes a second to import

    drawn = save_architecture_plot(architecture)
    if drawn is None:
        raise ConfigError("cells of this space have no method `graph`; leave --picture out")
    (kind,) = (kind for kind in drawn if path.name.lower().endswith(f".{kind}"))
    LocalStorage(path.parent).write(path.name, drawn[kind])


def describe_lines(content: dict[str, Any]) -> str:
    """A description for a terminal.

    Args:
        content: Of ``describe``.
    """
    genotype = content.get("genotype")
    cell = content.get("architecture") or Genotype.from_dict(genotype or {}).to_darts()
    cells = f", {plural(content['num_cells'], 'cell')}" if "num_cells" in content else ""
    title = (
        f"{content['space']} on {content['network']}: C={content['init_channels']}{cells}, "
        f"{content['num_classes']} classes, {content['image_size']} px"
    )
    numbers = {name: f"{content[name]:,}" for name in _MEANINGS}
    width = max(map(len, numbers.values()))
    rows = [(n, number.rjust(width), _MEANINGS[n]) for n, number in numbers.items()]
    table = text_table(("size", "number".rjust(width), "of one network, one image"), rows)
    return "\n".join([*wrapped(title), *wrapped(str(cell), hanging="    "), "", *table])
