"""The series of records of a search: its samples, and what is measured of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from nasi_ray.config import PATH, SampleConfig
from nasi_ray.data.fitted import FittedImages
from nasi_ray.device import prepare_process
from nasi_ray.errors import ConfigError, ProxyFailedError
from nasi_ray.nasi.evaluator import Evaluator, SubNetworks, lost_sample, same_sample
from nasi_ray.nasi.measurements import PathEvaluator, lost_measurement, same_measurement
from nasi_ray.networks.sub_network import layers_used, sub_network
from nasi_ray.proxies import get_proxy
from nasi_ray.records import MeasurementRows, RowFormat, SampleRows
from nasi_ray.records.rows import Measurement, Sample
from nasi_ray.runner import split_handle
from nasi_ray.search.names import SAMPLES
from nasi_ray.seeding import torch_seed

Record = Sample | Measurement


def rows_of(series: str, num_logits: int) -> RowFormat[Any, Any]:
    """The format of a series' records."""
    if series == SAMPLES:
        return SampleRows(num_logits)
    return MeasurementRows(num_logits, series)


class ProxyEvaluator:
    """Maps an index to a proxy's score of its sample's sub-network."""

    def __init__(self, networks: SubNetworks, proxy: str) -> None:
        self._networks, self._proxy = networks, proxy

    def __call__(self, index: int) -> Measurement:
        """Measure sample ``index`` (≥ 0); status ``failed`` if the proxy has no finite score."""
        start = time.perf_counter()
        networks = self._networks
        architecture, x, y = networks.at(index)
        used = layers_used(networks.net, architecture.at, x[:2])
        net = sub_network(networks.net, architecture.at, used)
        error, score = "", math.nan
        # Weights are index t of the stream; a proxy that draws its own takes another one.
        seed = torch_seed(networks.config.seed, "projection", index)
        try:
            score = get_proxy(self._proxy).score(net, x, y, loss=networks.loss, seed=seed)
        except (ProxyFailedError, ConfigError) as failure:
            error = str(failure)
        if not math.isfinite(score):
            error = error or f"the score is {score}"
        return Measurement(
            index=index,
            status="failed" if error else "ok",
            values={} if error else {self._proxy: score},
            choices=architecture.choices,
            error=error,
            seconds=time.perf_counter() - start,
            worker=networks.worker,
            ended=time.time(),
        )


class SeriesEvaluator:
    """Maps a handle (``runner.handle``) to the record of its series and index."""

    def __init__(
        self,
        config: SampleConfig,
        images: FittedImages | None,
        series: Sequence[str],
        *,
        device: str,
    ) -> None:
        self._series = tuple(series)
        networks = SubNetworks(config, images, device=device)
        self._of: list[Callable[[int], Record]] = [
            Evaluator(networks)
            if name == SAMPLES
            else PathEvaluator(networks)
            if name == PATH
            else ProxyEvaluator(networks, name)
            for name in self._series
        ]

    def __call__(self, given: int) -> Record:
        """Evaluate."""
        position, index = split_handle(given)
        return self._of[position](index)


def make_series_evaluator(
    config: SampleConfig,
    images: FittedImages | None,
    series: Sequence[str],
    device: str,
    threads: int,
) -> Callable[[int], Record]:
    """Set up this process and build its evaluator; a worker runs this first.

    Args:
        config: What a sample is.
        images: None for random data.
        series: Names, in the order of the handles.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads torch may use (≥ 1).
    """
    prepare_process(device, threads)
    return SeriesEvaluator(config, images, series, device=device)


def lost_record(space: str, series: Sequence[str], given: int, reason: str) -> Record:
    """The record that no attempt completed."""
    position, index = split_handle(given)
    if series[position] == SAMPLES:
        return lost_sample(space, index, reason)
    return lost_measurement(index, reason)


def same_record(first: Record, second: Record) -> bool:
    """Whether two evaluations agree bit for bit."""
    if isinstance(first, Sample):
        return isinstance(second, Sample) and same_sample(first, second)
    return isinstance(second, Measurement) and same_measurement(first, second)
