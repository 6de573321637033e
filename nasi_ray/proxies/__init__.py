"""Training-free proxies by name; ``docs/extending.md`` says how to add one. Light to import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nasi_ray.registry import Registry

if TYPE_CHECKING:
    from nasi_ray.proxies.base import Proxy

PROXIES: Registry[Proxy] = Registry(
    "proxy",
    "nasi_ray.proxies",
    {
        "trace_norm": "nasi_ray.proxies.trace_norm:TRACE_NORM",
        "ntk_trace": "nasi_ray.proxies.ntk_trace:NTK_TRACE",
        "ntk_condition": "nasi_ray.proxies.ntk_condition:NTK_CONDITION",
        "grad_norm": "nasi_ray.proxies.grad_norm:GRAD_NORM",
        "snip": "nasi_ray.proxies.snip:SNIP",
        "grasp": "nasi_ray.proxies.grasp:GRASP",
        "fisher": "nasi_ray.proxies.fisher:FISHER",
        "synflow": "nasi_ray.proxies.synflow:SYNFLOW",
        "jacob_cov": "nasi_ray.proxies.jacob_cov:JACOB_COV",
        "naswot": "nasi_ray.proxies.naswot:NASWOT",
        "zico": "nasi_ray.proxies.zico:ZICO",
        "zen": "nasi_ray.proxies.zen:ZEN",
        "num_params": "nasi_ray.proxies.num_params:NUM_PARAMS",
        "multiply_adds": "nasi_ray.proxies.multiply_adds:MULTIPLY_ADDS",
    },
)


def get_proxy(name: str) -> Proxy:
    """Look a proxy up.

    Raises:
        UnknownNameError: If the proxy is not known.
        ConfigError: If it is a plug-in that cannot be imported.
    """
    return PROXIES.get(name)
