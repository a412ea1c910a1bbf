"""Supernets against stand-alone networks, and a search in small: every pass is compiled once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.nn.in_training import InTraining
from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.nn.platform import platform
from hwnas_jax.registry import Part
from hwnas_jax.relax.base import RELAXATIONS, Gates
from hwnas_jax.spaces import Space, sum_terms
from tests.spaces.contract import covering, one_hot

KINDS = ("outputs", "images", "weights")
DRAWS = 50
# Everything runs in plain convolutions, which compile several times as fast as this machine's
# forms of them. Those are compared with the plain ones in tests/nn.
plain = functools.partial(platform, "gpu")


class Passes:
    """The mixed and the drawn pass of a space's supernet with their gradients."""

    def __init__(self, space: Space, *, batch: int = 4, seed: int = 0):
        self.space, self.rng = space, np.random.default_rng(seed)
        supernet = abstract(space.supernet)
        assert hasattr(supernet, "features") == space.has_features
        self.graph, like = nnx.split(supernet)
        self.state = _drawn(space, like, self.rng)
        self.images = self.draw(batch, *space.input_shape)
        self.direction = self.draw(batch, space.num_outputs)

        def loss(state, images, weight, index, direction):
            outputs = nnx.merge(self.graph, state)(images, Gates(weight, index))
            return (outputs * direction).sum(), outputs

        self._compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))

    def draw(self, *shape: int) -> jax.Array:
        return jnp.asarray(self.rng.standard_normal(shape), jnp.float32)

    def run(self, state, images, gates, direction):
        """Returns the outputs, and the gradients of state, images and gates along `direction`."""
        with plain():
            (_, outputs), gradients = self._compiled(state, images, *gates, direction)
        return outputs, gradients


class Alone:
    """A stand-alone network with the supernet's weights, run operation by operation.

    Most operations occur in many networks, so few programs are compiled.
    """

    def __init__(self, passes: Passes, architecture: np.ndarray):
        space = passes.space
        network = abstract(lambda rngs: space.network(architecture, rngs))
        network.train()
        self.graph, like = nnx.split(network)

        def inherited(state):
            network = nnx.merge(self.graph, _filled(like))
            space.inherit(network, architecture, nnx.merge(passes.graph, state))
            return nnx.split(network)[1]

        with plain():
            # `inherit` is linear: gradients of the network are pulled back to the supernet by it.
            self.own, self.pull = jax.vjp(lambda s: _floats(inherited(s)), passes.state)
            self.whole = inherited(passes.state)

    def run(self, own, images, direction):
        """Returns the outputs and the gradients of `own`, the network's floats, and images."""

        def loss(own, images):
            outputs = nnx.merge(self.graph, _with_floats(self.whole, own))(images)
            return (outputs * direction).sum(), outputs

        with plain():
            (_, outputs), gradients = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(
                own, images
            )
        return outputs, gradients

    def trained_by(self, own, images):
        """Returns the network's outputs in training, each with the factor of its loss."""
        network = nnx.merge(self.graph, _with_floats(self.whole, own))
        if not isinstance(network, InTraining):
            return ((1.0, network(images)),)
        keys = jax.random.split(jax.random.key(0), len(images))
        return network.in_training(images, keys, jnp.asarray(0.5))


def check_space(space: Space, *, batch: int = 4) -> None:
    """The supernet is every network of the space, and can be searched."""
    passes = Passes(space, batch=batch)
    check_supernet_equals_network(passes)
    check_search(passes)


def check_supernet_equals_network(
    passes: Passes, architectures: np.ndarray | None = None, *, tolerance: float = 1e-4
) -> None:
    """At one-hot gates the supernet is the stand-alone network: value and gradient.

    The gradients are those of the images and of every weight that the network inherits. By default
    the architectures have every option of every decision.

    A difference counts if the network itself keeps that kind of value when its weights and images
    are moved by a rounding error. If it does not, some value lies on the bend of a ReLU or on the
    edge between two levels, and what is computed there is up to the compiler. Then other images are
    drawn, a bounded number of times.
    """
    space, images = passes.space, passes.images
    for architecture in covering(space) if architectures is None else architectures:
        alone, label = Alone(passes, architecture), space.to_string(architecture)
        for _ in range(DRAWS):
            outputs, (own_gradient, image_gradient) = alone.run(alone.own, images, passes.direction)
            (state_gradient,) = alone.pull(own_gradient)
            theirs = [outputs, image_gradient, *jax.tree.leaves(state_gradient)]
            found = {}
            for sampled in (False, True):
                gates = one_hot(space, architecture, sampled=sampled)
                outputs, gradients = passes.run(passes.state, images, gates, passes.direction)
                ours = [outputs, gradients[1], *jax.tree.leaves(gradients[0])]
                found[sampled] = _differences(ours, theirs)
            if max(map(max, found.values())) <= tolerance:
                break
            own_changes = _changes(alone, images, passes)
            for sampled, differences in found.items():
                for kind, off, change in zip(KINDS, differences, own_changes, strict=True):
                    assert off <= tolerance or change > tolerance, (
                        f"{label} sampled={sampled} {kind}: off by {off:.2e} of the largest value, "
                        f"where rounding changes the network itself by {change:.2e}"
                    )
            images = passes.draw(*images.shape)
        else:
            raise AssertionError(f"{label}: differs, and is not steady, on {DRAWS} draws of images")


def check_search(passes: Passes, *, steps: int = 3) -> None:
    """A search in small: weights learn, the counted cost falls, and what is derived is trained.

    Cross-entropy is descended in the weights, mixed and with drawn paths, and the expected products
    in the logits. Then the most probable architecture is built with the supernet's weights and
    takes a step of its training.
    """
    space, mask = passes.space, jnp.asarray(passes.space.mask)
    macs = sum_terms(space, {name: float(op.macs) for name, op in space.operations()[0].items()})
    classes = jnp.arange(len(passes.images)) % space.num_outputs
    logits, state = 0.1 * passes.draw(*mask.shape), passes.state
    key, temperature, zeros = jax.random.key(0), jnp.ones(()), jnp.zeros_like(passes.direction)

    def cross_entropy(outputs):
        return -jnp.take_along_axis(jax.nn.log_softmax(outputs), classes[:, None], 1).mean()

    slope = jax.grad(cross_entropy)
    mixed, drawn = (RELAXATIONS.make(Part(name)) for name in ("softmax", "sampled_path"))
    for relaxation in (mixed, drawn):
        losses = []
        for _ in range(steps):
            weight, pull, index = jax.vjp(
                lambda p, r=relaxation: tuple(r.sample(key, p, mask, temperature)),
                logits, has_aux=True,
            )  # fmt: skip
            gates = Gates(weight, index)
            outputs, _ = passes.run(state, passes.images, gates, zeros)
            losses.append(float(cross_entropy(outputs)))
            _, (of_state, _, of_gates) = passes.run(state, passes.images, gates, slope(outputs))
            (of_logits,) = pull(of_gates)
            assert np.isfinite(of_logits).all()
            state = _descended(state, of_state, 0.02)
        outputs, _ = passes.run(state, passes.images, gates, zeros)
        assert float(cross_entropy(outputs)) < losses[0], (relaxation.name, losses)

    def expected(logits):
        return macs.total(mixed.probabilities(logits, mask))

    before, slopes = jax.value_and_grad(expected)(logits)
    logits = logits - slopes / (1e-9 + jnp.abs(slopes).max())
    assert float(expected(logits)) < float(before)
    strongest = np.where(mask, logits, -np.inf).argmax(-1)
    candidates = np.concatenate([strongest[None], space.random(passes.rng, 20)]).astype(np.int32)
    architecture = candidates[space.feasible(candidates)][0]
    alone = Alone(passes, architecture)

    def training_loss(own):
        heads = alone.trained_by(own, passes.images)
        return sum(factor * cross_entropy(outputs) for factor, outputs in heads)

    with plain():
        loss, gradient = jax.value_and_grad(training_loss)(alone.own)
        assert float(training_loss(_descended(alone.own, gradient, 0.02))) < float(loss)


def _descended(values, gradients, share):
    """Returns values moved against their gradients by a share of their own norm, on the host."""

    def norm(tree):
        leaves = [leaf for leaf in jax.tree.leaves(tree) if _is_float(leaf)]
        return np.sqrt(sum(float((np.asarray(leaf) ** 2).sum()) for leaf in leaves))

    def move(value, gradient):
        if not _is_float(value):
            return value
        return jnp.asarray(np.asarray(value) - np.float32(rate) * np.asarray(gradient))

    rate = share * norm(values) / norm(gradients)
    return jax.tree.map(move, values, gradients)


def _changes(alone, images, passes):
    """Returns by how much a rounding error in weights and images changes the network, by kind."""

    def moved(leaf):
        factor = 1 + 1e-6 * passes.rng.standard_normal(leaf.shape)
        return leaf * jnp.asarray(factor, leaf.dtype)

    def values(own, images):
        outputs, (own_gradient, image_gradient) = alone.run(own, images, passes.direction)
        return [outputs, image_gradient, *own_gradient]

    before = values(alone.own, images)
    draws = [
        _differences(values([moved(leaf) for leaf in alone.own], moved(images)), before)
        for _ in range(4)
    ]
    return np.max(draws, axis=0)


def _differences(ours, theirs):
    """Returns the largest difference of each kind, as a share of the largest value of its kind.

    Both are the outputs, the images' gradient, and the weights' gradients one after another.
    """
    ours, theirs = [np.asarray(x) for x in ours], [np.asarray(x) for x in theirs]
    found = []
    for part in (slice(1), slice(1, 2), slice(2, None)):
        pairs = list(zip(ours[part], theirs[part], strict=True))
        scale = max(1e-6, *(np.abs(y).max() for _, y in pairs))
        found.append(max(np.abs(x - y).max() for x, y in pairs) / scale)
    return found


def _drawn(space, like, rng):
    """Returns the supernet's state: kernels drawn on the host, where there is nothing to compile.

    All else has its initial value, apart from it by a tenth.
    """
    paths, structure = jax.tree_util.tree_flatten_with_path(like)
    is_kernel = ["kernel" in jax.tree_util.keystr(path) for path, _ in paths]

    @jax.jit
    def others():
        leaves = jax.tree.leaves(nnx.split(space.supernet(nnx.Rngs(1)))[1])
        return [leaf for leaf, kernel in zip(leaves, is_kernel, strict=True) if not kernel]

    own, leaves = iter(others()), []
    for (_, leaf), kernel in zip(paths, is_kernel, strict=True):
        if kernel:
            spread = (leaf.size / leaf.shape[-1]) ** -0.5
            value = spread * rng.standard_normal(leaf.shape)
        else:
            value = next(own)
            if _is_float(leaf):
                value = value * (1 + 0.1 * rng.standard_normal(leaf.shape))
        leaves.append(jnp.asarray(value, leaf.dtype) if _is_float(leaf) else value)
    return jax.tree.unflatten(structure, leaves)


def _filled(like):
    """Returns the state with ones for scales and variances, zeros otherwise."""

    def fill(path, leaf):
        words = [str(getattr(key, "key", getattr(key, "name", ""))) for key in path]
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jnp.broadcast_to(jax.random.key(0), leaf.shape)
        return jnp.full(leaf.shape, float(any(w in ("scale", "var") for w in words)), leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, like)


def _floats(state):
    return [leaf for leaf in jax.tree.leaves(state) if _is_float(leaf)]


def _is_float(leaf):
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def _with_floats(state, floats):
    leaves, structure = jax.tree.flatten(state)
    values = iter(floats)
    return jax.tree.unflatten(structure, [next(values) if _is_float(x) else x for x in leaves])
