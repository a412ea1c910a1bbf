"""Every registered relaxation keeps the contract, and the contract tells a broken one."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.relax import RELAXATIONS, FairDARTS, Gates, Softmax
from hwnas_jax.relax.base import straight_through
from tests.relax import contract


@pytest.mark.parametrize("name", RELAXATIONS)
def test_every_relaxation_keeps_the_contract(name):
    contract.check(RELAXATIONS.make(Part(name)))


def broken(method, said):
    """A softmax relaxation of which one method is replaced, and what the contract says of it."""
    return pytest.param(
        dataclasses.dataclass(frozen=True)(type("Broken", (Softmax,), method)),
        said, id=said.replace(" ", "-"),
    )  # fmt: skip


def leaking(params, mask):
    """The softmax in value; in gradient, without the mask."""
    unmasked = jax.nn.softmax(params)
    right = jnp.where(mask, params, -1e9)
    return jax.lax.stop_gradient(jax.nn.softmax(right) - unmasked) + unmasked


def sample(function, **attributes):
    method = {"sample": lambda self, key, params, mask, temperature: function(self, params, mask)}
    return method | attributes


def probabilities(function):
    return {"probabilities": lambda self, params, mask: function(params, mask)}


def growing():
    return optax.GradientTransformation(
        lambda params: jnp.zeros(1), lambda gradient, state, params: (gradient, jnp.zeros(2))
    )


BROKEN = [
    broken(
        sample(lambda self, params, mask: Gates(jax.nn.softmax(params).T[:3])),
        "weight must be float32",
    ),
    broken(
        sample(lambda self, params, mask: jax.nn.softmax(params)), "sample must return Gates"
    ),
    broken(
        sample(lambda self, params, mask: Gates(
            self.probabilities(params, mask), jnp.zeros(3, jnp.int32)
        )),
        "draws_paths is False, but sample's gates have an index",
    ),
    broken({"draws_paths": True}, "draws_paths is True, but sample's gates have no index"),
    broken(
        sample(lambda self, params, mask: Gates(
            self.probabilities(params, mask), jnp.zeros(3, jnp.int32)
        ), draws_paths=True),
        "index must be int32",
    ),
    broken(
        sample(lambda self, params, mask: Gates(jax.nn.softmax(params))),
        "gates of masked options must be zero",
    ),
    broken(
        sample(lambda self, params, mask: Gates(0.5 * self.probabilities(params, mask))),
        "rows of gates must sum to one",
    ),
    broken(
        sample(lambda self, params, mask: Gates(
            1.5 * self.probabilities(params, mask) - 0.5 * mask / mask.sum(-1, keepdims=True)
        )),
        "gates must not be negative",
    ),
    broken(
        sample(lambda self, params, mask: Gates(
            jax.lax.stop_gradient(self.probabilities(params, mask))
        )),
        "gates must have a gradient",
    ),
    broken(
        {
            **sample(lambda self, params, mask: Gates(
                jnp.sqrt(self.probabilities(params, mask)) ** 2
            )),
            "optimizer": lambda self: optax.chain(optax.zero_nans(), optax.adam(0.05)),
        },
        "the gradient of sample must be finite",
    ),
    broken(
        sample(lambda self, params, mask: Gates(jnp.where(mask, leaking(params, mask), 0.0))),
        "the gradient of sample leaks to masked options",
    ),
    broken(
        sample(lambda self, params, mask: Gates(
            straight_through(self.probabilities(params, mask), jnp.array([0, 2, 1, 0])),
            jnp.array([0, 2, 1, 0], jnp.int32),
        ), draws_paths=True),
        "gates of masked options must be zero",
    ),
    broken(
        sample(lambda self, params, mask: Gates(
            self.probabilities(params, mask), jnp.array([0, 2, 1, 0], jnp.int32)
        ), draws_paths=True),
        "a masked option must never be drawn",
    ),
    broken(
        sample(lambda self, params, mask: Gates(
            self.probabilities(params, mask), jnp.array([0, 0, 1, 0], jnp.int32)
        ), draws_paths=True),
        "the gate of a drawn option must be one",
    ),
    broken(
        probabilities(lambda params, mask: jax.nn.softmax(params)),
        "of masked options must be zero",
    ),
    broken(
        {
            "sample": lambda self, key, params, mask, temperature: Gates(
                Softmax.probabilities(self, params, mask)
            ),
            **probabilities(lambda params, mask: jax.nn.softmax(params)),
        },
        "probabilities of masked options must be zero",
    ),
    broken(
        {
            "sample": lambda self, key, params, mask, temperature: Gates(
                Softmax.probabilities(self, params, mask)
            ),
            **probabilities(lambda params, mask: jnp.where(mask, jax.nn.sigmoid(params), 0.0)),
        },
        "rows of probabilities must sum to one",
    ),
    broken(
        {
            "sample": lambda self, key, params, mask, temperature: Gates(
                Softmax.probabilities(self, params, mask)
            ),
            **probabilities(lambda params, mask: jnp.where(mask, leaking(params, mask), 0.0)),
        },
        "the gradient of probabilities leaks to masked options",
    ),
    broken(
        {"penalty": lambda self, params, mask, progress: jnp.sum(params**2, -1)},
        "penalty must be float32",
    ),
    broken(
        {"penalty": lambda self, params, mask, progress: jnp.log(progress)},
        "the penalty must be finite",
    ),
    broken(
        {"penalty": lambda self, params, mask, progress: jnp.sum(jax.nn.logsumexp(params, -1))},
        "the gradient of penalty leaks to masked options",
    ),
    broken(
        {"init": lambda self, key, mask: jax.random.normal(key, mask.shape)},
        "nothing must be favoured at the start",
    ),
    broken(
        {"init": lambda self, key, mask: {"logits": jnp.zeros(mask.shape)},
         "sample": lambda self, key, params, mask, temperature: Gates(
             Softmax.probabilities(self, params["logits"], mask)
         ),
         "probabilities": lambda self, params, mask: Softmax.probabilities(
             self, params["logits"], mask
         )},
        "parameters must be logits",
    ),
    broken(
        {"optimizer": lambda self: growing()}, "must keep the shapes of its own state",
    ),
    broken(
        {"optimizer": lambda self: optax.sgd(-0.1)},
        "the cheapest options must become the most probable",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("method", "said"), BROKEN)
def test_the_contract_tells_a_broken_relaxation(method, said):
    with pytest.raises((AssertionError, UserError), match=said):
        contract.check(method())


def test_the_contract_wants_it_said_that_several_options_are_chosen():
    class Unsaid(FairDARTS):
        chooses_several = False

    with pytest.raises(AssertionError, match="rows of gates must sum to one"):
        contract.check(Unsaid())


def test_parameters_may_be_any_tree():
    @dataclasses.dataclass(frozen=True)
    class Factored(Softmax):
        """Logits that are the product of a vector over decisions and one over options."""

        has_logits = False

        def init(self, key, mask):
            return {"rows": jnp.ones(mask.shape[0]), "all": jnp.zeros(mask.shape)}

        def probabilities(self, params, mask):
            return Softmax.probabilities(self, params["rows"][:, None] * params["all"], mask)

    contract.check(Factored())
