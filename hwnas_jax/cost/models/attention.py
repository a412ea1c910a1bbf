"""A linear base, multiplied by the correction of a small transformer.

Every decision is a token. Its embedding is the gate-weighted mix of learned embeddings of its
options, for the architecture as written and for its canonical form. Which decisions act on which is
learned too: each pair of decisions has a bias on its attention. The bias takes the place of the
edges of a graph, so the model also serves spaces that are not graphs.

Legend: `D` decisions, `K` options of the widest decision, `F` features, `W` width of a token,
`A` heads, `L` layers, `H` hidden width, `Q` metrics.

References: Vaswani et al., "Attention Is All You Need", 2017; Ying et al., "Do Transformers
Really Perform Bad for Graph Representation?", 2021 (a learned bias per relation).
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost.models.additive import Features
from hwnas_jax.cost.models.ensemble import Ensemble, TrainedOptions, register
from hwnas_jax.cost.models.mlp import bend, normal
from hwnas_jax.cost.models.registry import COST_MODELS

_WIDTH, _HEADS, _LAYERS = 16, 2, 2


@COST_MODELS.add
@register
class AttentionEnsemble(Ensemble):
    """An ensemble of transformers with two layers of two heads."""

    name: ClassVar[str] = "attention"
    summary: ClassVar[str] = "ensemble of small transformers over the decisions"
    label: ClassVar[str] = "transformer ensemble"
    Options: ClassVar[type] = TrainedOptions

    @staticmethod
    def draw(
        rng: np.random.Generator, features: Features, metrics: int, hidden: int
    ) -> dict[str, np.ndarray]:
        decisions, options = features.space.mask.shape
        return {
            "embedding": 0.5 * rng.standard_normal(
                (decisions, features.blocks * options, _WIDTH)
            ),
            "relation": np.zeros((_LAYERS, decisions, decisions, _HEADS)),
            "mix": normal(rng, (_LAYERS, _WIDTH, 3 * _WIDTH)),
            "join": normal(rng, (_LAYERS, _WIDTH, _WIDTH), 0.25),
            "widen": normal(rng, (_LAYERS, _WIDTH, hidden), 2.0),
            "widen_bias": np.zeros((_LAYERS, hidden)),
            "narrow": normal(rng, (_LAYERS, hidden, _WIDTH), 0.25),
            "read": normal(rng, (_WIDTH, hidden), 2.0),
            "read_bias": np.zeros(hidden),
            "last": normal(rng, (hidden, metrics), 1e-2),
        }  # fmt: skip

    @staticmethod
    def correct(parameters: dict[str, jax.Array], x: jax.Array, features: Features) -> jax.Array:
        decisions, options = features.space.mask.shape
        blocks = x[..., : features.blocks * decisions * options]
        blocks = blocks.reshape(*x.shape[:-1], features.blocks, decisions, options)
        mixed = jnp.moveaxis(blocks, -3, -2).reshape(*x.shape[:-1], decisions, -1)
        token = jnp.einsum("...dk,dkw->...dw", mixed, parameters["embedding"])
        # One layer is compiled and run several times.
        layers = {name: parameters[name] for name in _LAYERED}
        token, _ = jax.lax.scan(_layer, token, layers)
        hidden = bend(token.mean(axis=-2) @ parameters["read"] + parameters["read_bias"])
        return hidden @ parameters["last"]


_LAYERED = ("relation", "mix", "join", "widen", "widen_bias", "narrow")


def _layer(token, own):
    token = token + _attend(_normalise(token), own)
    hidden = bend(_normalise(token) @ own["widen"] + own["widen_bias"])
    return token + hidden @ own["narrow"], None


def _normalise(token):
    # No mean is subtracted and small tokens stay small: at soft gates a token is a mean of
    # embeddings and rightly smaller than they are.
    return token / jnp.sqrt(1.0 + (token**2).mean(axis=-1, keepdims=True))


def _attend(token, own):
    """Returns what each token `float32[..., D, W]` gathers from all."""
    parts = (token @ own["mix"]).reshape(*token.shape[:-1], 3, _HEADS, _WIDTH // _HEADS)
    query, key, value = (parts[..., i, :, :] for i in range(3))
    # Written as sums of products. As matrix products of these few numbers they would take ten times
    # as long to compile.
    score = (query[..., :, None, :, :] * key[..., None, :, :, :]).sum(axis=-1)
    score = score / jnp.sqrt(_WIDTH / _HEADS) + own["relation"]
    share = jax.nn.softmax(score, axis=-2)
    gathered = (share[..., None] * value[..., None, :, :, :]).sum(axis=-3)
    return gathered.reshape(token.shape) @ own["join"]
