"""Training-free proxies by name. A new proxy is one file and one line in ``PROXIES``."""

from __future__ import annotations

from nasi_ray.errors import UnknownNameError
from nasi_ray.proxies.base import Proxy as Proxy
from nasi_ray.proxies.base import Score as Score
from nasi_ray.proxies.fisher import FISHER
from nasi_ray.proxies.grad_norm import GRAD_NORM
from nasi_ray.proxies.grasp import GRASP
from nasi_ray.proxies.jacob_cov import JACOB_COV
from nasi_ray.proxies.multiply_adds import MULTIPLY_ADDS
from nasi_ray.proxies.naswot import NASWOT
from nasi_ray.proxies.ntk_condition import NTK_CONDITION
from nasi_ray.proxies.ntk_trace import NTK_TRACE
from nasi_ray.proxies.num_params import NUM_PARAMS
from nasi_ray.proxies.snip import SNIP
from nasi_ray.proxies.synflow import SYNFLOW
from nasi_ray.proxies.trace_norm import TRACE_NORM
from nasi_ray.proxies.zen import ZEN
from nasi_ray.proxies.zico import ZICO

PROXIES: dict[str, Proxy] = {
    proxy.name: proxy
    for proxy in (
        TRACE_NORM,
        NTK_TRACE,
        NTK_CONDITION,
        GRAD_NORM,
        SNIP,
        GRASP,
        FISHER,
        SYNFLOW,
        JACOB_COV,
        NASWOT,
        ZICO,
        ZEN,
        NUM_PARAMS,
        MULTIPLY_ADDS,
    )
}


def get_proxy(name: str) -> Proxy:
    """Look a proxy up.

    Raises:
        UnknownNameError: If there is none of that name.
    """
    try:
        return PROXIES[name]
    except KeyError:
        raise UnknownNameError("proxy", name, list(PROXIES)) from None
