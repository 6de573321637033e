"""(settings, proxy, seed, architecture) -> score: the pure function that workers run."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from os import getpid

import torch
from torch import Tensor, nn

from nasi_ray.data.batches import make_batches
from nasi_ray.data.fitted import FittedImages
from nasi_ray.device import DTYPES, device_kind, prepare_process, resolve_device
from nasi_ray.errors import ConfigError, ProxyFailedError
from nasi_ray.nasi.loss import LOSSES
from nasi_ray.networks.by_space import make_standalone, networks_of
from nasi_ray.networks.initialization import build
from nasi_ray.networks.sub_network import layers_used, sub_network
from nasi_ray.proxies import get_proxy
from nasi_ray.ranking.settings import SIZE_PROXIES, RankConfig
from nasi_ray.records.rows import ProxyScore
from nasi_ray.run.counts import widest
from nasi_ray.runner import split_handle
from nasi_ray.seeding import torch_seed
from nasi_ray.spaces import TabularArchitecture, get_tabular_space


def lost_score(given: int, reason: str) -> ProxyScore:
    """The record of a score that no attempt completed.

    Args:
        given: The ``handle``.
        reason: Why, in one line.
    """
    _, index = split_handle(given)
    return ProxyScore(index=index, status="lost", score=math.nan, error=reason)


def same_score(first: ProxyScore, second: ProxyScore) -> bool:
    """Whether two evaluations agree bit for bit."""
    values = [(s.index, s.status, 0.0 if math.isnan(s.score) else s.score) for s in (first, second)]
    return values[0] == values[1]


class ScoreEvaluator:
    """Holds the data; maps a handle to its score."""

    def __init__(
        self,
        config: RankConfig,
        images: FittedImages | None,
        proxies: Sequence[str],
        *,
        device: str,
    ) -> None:
        self._config = config
        self._images = images
        self._proxies = tuple(proxies)
        self._space = get_tabular_space(config.space)
        self._networks = networks_of(self._space)
        self._dtype = DTYPES[config.dtype]
        self._device = resolve_device(device)
        kind = device_kind(self._device)
        self._worker = f"{socket.gethostname()}/{getpid()}/{kind}"
        self._num_classes = make_batches(config.sample_config(0), images).num_classes
        # A worker's handles mostly are of one seed.
        self._batch = lru_cache(maxsize=1)(self._make_batch)
        self._supernet = lru_cache(maxsize=1)(self._make_supernet)
        self._shape_only = lru_cache(maxsize=1)(self._make_shape_only)
        self._widths: dict[str, int] = {}

    def __call__(self, given: int) -> ProxyScore:
        """Evaluate one score.

        Args:
            given: A ``handle``; the proxy's position is in ``proxies``.

        Returns:
            The score; status ``failed`` if the proxy has none, or refuses the settings.
        """
        start = time.perf_counter()
        position, index = split_handle(given)
        seed, number = divmod(index, self._space.num_architectures)
        score, error = math.nan, ""
        try:
            score = self._score(self._proxies[position], self._space.architecture(number), seed)
        except (ProxyFailedError, ConfigError) as failure:
            error = str(failure)
        if not math.isfinite(score):
            score, error = math.nan, error or f"the score is {score}"
        return ProxyScore(
            index=index,
            status="failed" if error else "ok",
            score=score,
            error=error,
            seconds=time.perf_counter() - start,
            worker=self._worker,
            ended=time.time(),
        )

    def _score(self, proxy: str, architecture: TabularArchitecture, seed: int) -> float:
        if proxy in SIZE_PROXIES:
            x, y = self._meta_image(), torch.empty(0, dtype=torch.int64)
            net = self._shape_of(architecture)
        else:
            x, y = self._batch(seed)
            net = self._network(architecture, seed)
        score = get_proxy(proxy).score
        loss = LOSSES[self._config.loss]
        # Weights are index 0 of the stream; a proxy that draws its own takes another one.
        return score(net, x, y, loss=loss, seed=torch_seed(seed, "weights", 1))

    def _network(self, architecture: TabularArchitecture, seed: int) -> nn.Module:
        if self._config.network == "supernet":
            return self._path(self._supernet(seed), architecture)
        return self._build(partial(self._make_standalone, architecture), seed)

    def _shape_of(self, architecture: TabularArchitecture) -> nn.Module:
        """The network on the meta device: shapes without numbers."""
        if self._config.network == "supernet":
            return self._path(self._shape_only(), architecture)
        with torch.device("meta"):
            return self._make_standalone(architecture)

    def _path(self, supernet: nn.Module, architecture: TabularArchitecture) -> nn.Module:
        chosen_of = self._networks.chosen
        if chosen_of is None:
            raise ConfigError(
                f"space {self._space.name!r} does not say which path of its supernet an "
                "architecture takes; use --network standalone"
            )
        chosen = chosen_of(architecture)
        used = layers_used(self._shape_only(), chosen, self._meta_image())
        return sub_network(supernet, chosen, used)

    def _make_standalone(self, architecture: TabularArchitecture) -> nn.Module:
        config = self._config
        channels = self._widest(architecture) if config.is_limited else config.resolved_channels
        return self._with_channels(architecture, channels)

    def _with_channels(self, architecture: TabularArchitecture, channels: int) -> nn.Module:
        return make_standalone(
            self._config.space,
            architecture,
            num_classes=self._num_classes,
            num_channels=channels,
            num_cells=self._config.resolved_cells,
        )

    def _widest(self, architecture: TabularArchitecture) -> int:
        name = architecture.to_string()
        if name not in self._widths:
            self._widths[name] = widest(
                partial(self._with_channels, architecture),
                self._config,
                image_size=self._config.image_size,
                smallest=self._space.min_channels,
            )
        return self._widths[name]

    def _make_supernet(self, seed: int) -> nn.Module:
        return self._build(self._supernet_maker(), seed)

    def _make_shape_only(self) -> nn.Module:
        with torch.device("meta"):
            return self._supernet_maker()()

    def _supernet_maker(self) -> Callable[[], nn.Module]:
        return partial(
            self._networks.supernet,
            init_channels=self._config.resolved_channels,
            num_cells=self._space.resolve_num_cells(self._config.num_cells),
            num_classes=self._num_classes,
        )

    def _build(self, make: Callable[[], nn.Module], seed: int) -> nn.Module:
        net = build(
            make, seed=torch_seed(seed, "weights"), dtype=self._dtype, init=self._config.init
        )
        return net.to(self._device).to(memory_format=torch.channels_last)

    def _make_batch(self, seed: int) -> tuple[Tensor, Tensor]:
        x, y = make_batches(self._config.sample_config(seed), self._images).batch(0)
        x = x.to(self._device, self._dtype).contiguous(memory_format=torch.channels_last)
        return x, y.to(self._device)

    def _meta_image(self) -> Tensor:
        size = self._config.image_size
        return torch.empty((1, 3, size, size), device="meta", dtype=self._dtype)


def make_score_evaluator(
    config: RankConfig,
    images: FittedImages | None,
    proxies: Sequence[str],
    device: str,
    threads: int,
) -> Callable[[int], ProxyScore]:
    """Set up this process and build its evaluator; a worker runs this first.

    Args:
        config: What a score is.
        images: None for random data.
        proxies: Names, in the order of the handles.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads torch may use (≥ 1).
    """
    prepare_process(device, threads)
    return ScoreEvaluator(config, images, proxies, device=device)
