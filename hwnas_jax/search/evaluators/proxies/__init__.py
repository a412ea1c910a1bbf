"""Scores of untrained networks, by name."""

from hwnas_jax.search.evaluators.proxies.base import Proxy, Trial
from hwnas_jax.search.evaluators.proxies.counts import Macs, Params
from hwnas_jax.search.evaluators.proxies.gradients import GradNorm, Snip
from hwnas_jax.search.evaluators.proxies.naswot import Naswot
from hwnas_jax.search.evaluators.proxies.synflow import Synflow
from hwnas_jax.search.evaluators.proxies.zen import Zen

PROXIES: dict[str, Proxy] = {
    proxy.name: proxy
    for proxy in (Naswot(), Synflow(), GradNorm(), Snip(), Zen(), Params(), Macs())
}

__all__ = ["PROXIES", "Proxy", "Trial"]
