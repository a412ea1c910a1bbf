"""Supernets against stand-alone networks, and a search in small: every pass is compiled once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.nn.platform import platform
from hwnas_jax.relax.base import Gates
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
        self._alone: dict[bytes, Alone] = {}
        supernet = abstract(space.supernet)
        assert hasattr(supernet, "features") == space.has_features
        self.graph, like = nnx.split(supernet)
        self.state = _drawn(space, like, self.rng)
        self.images = self.draw(batch, *space.input_shape)
        self.direction = self.draw(batch, *space.output_shape)

        def loss(state, weight, index, images, direction):
            outputs = nnx.merge(self.graph, state)(images, Gates(weight, index))
            return (outputs * direction).sum(), outputs

        self._compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 3), has_aux=True))

    def draw(self, *shape: int) -> jax.Array:
        return jnp.asarray(self.rng.standard_normal(shape), jnp.float32)

    def alone(self, architecture: np.ndarray) -> "Alone":
        """Returns the stand-alone network of an architecture, compiled once."""
        key = np.asarray(architecture).tobytes()
        if key not in self._alone:
            self._alone[key] = Alone(self, architecture)
        return self._alone[key]

    def run(self, state, gates, images, direction):
        """Returns the outputs, and the gradients of state, gates and images along `direction`."""
        with plain():
            (_, outputs), gradients = self._compiled(state, *gates, images, direction)
        return outputs, gradients


class Alone:
    """A stand-alone network as a function of the supernet's weights, compiled once.

    `Space.inherit` is linear, so the gradient of the network pulled back through it must be the
    supernet's.
    """

    def __init__(self, passes: Passes, architecture: np.ndarray):
        space = passes.space
        network = abstract(lambda rngs: space.network(architecture, rngs))
        network.train()
        graph, like = nnx.split(network)
        self.still = [jnp.zeros(leaf.shape) for leaf in jax.tree.leaves(like) if _is_float(leaf)]

        def loss(state, moved, images, direction):
            network = nnx.merge(graph, _filled(like))
            space.inherit(network, architecture, nnx.merge(passes.graph, state))
            own = _moved(nnx.split(network)[1], moved)
            outputs = nnx.merge(graph, own)(images)
            return (outputs * direction).sum(), outputs

        self._compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))

    def run(self, state, images, direction, moved=None):
        """Returns the outputs, and the gradients of state, own floats and images.

        `moved` is added to the network's own floats, its scales and offsets among them.
        """
        with plain():
            (_, outputs), gradients = self._compiled(
                state, self.still if moved is None else moved, images, direction
            )
        return outputs, gradients


def check_space(space: Space, architectures: np.ndarray | None = None, *, batch: int = 4) -> None:
    """The supernet is every network of the space, and can be searched.

    Checked are architectures that together have every option of every decision.
    """
    passes = Passes(space, batch=batch)
    architectures = covering(space) if architectures is None else architectures
    check_supernet_equals_network(passes, architectures)
    check_search(passes, architectures)


def check_supernet_equals_network(
    passes: Passes, architectures: np.ndarray, *, tolerance: float = 1e-4
) -> None:
    """At one-hot gates the supernet is the stand-alone network: value and gradient.

    The gradients are those of the images and of every weight that the network inherits.

    A difference counts if the network itself keeps that kind of value when its weights and images
    are moved by a rounding error. If it does not, some value lies on the bend of a ReLU or on the
    edge between two levels, and what is computed there is up to the compiler. Then other images are
    drawn, a bounded number of times.
    """
    space, images = passes.space, passes.images
    for architecture in architectures:
        alone, label = passes.alone(architecture), space.to_string(architecture)
        for _ in range(DRAWS):
            theirs = _values(alone.run(passes.state, images, passes.direction))
            found = {}
            for sampled in (False, True):
                gates = one_hot(space, architecture, sampled=sampled)
                ours = _values(passes.run(passes.state, gates, images, passes.direction))
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


def check_search(passes: Passes, candidates: np.ndarray, *, steps: int = 3) -> None:
    """A search in small: weights learn, the counted cost falls, and the derived network is trained.

    Cross-entropy is descended in the weights, mixed and with drawn paths, and in the logits the
    expected products, or products of bits. The most probable candidate is then built with the
    supernet's weights, and takes a step of its training.
    """
    space, mask, images = passes.space, passes.space.mask, passes.images
    operations = space.operations()[0]
    counted = sum_terms(
        space, {n: float(o.bit_operations or o.macs) for n, o in operations.items()}
    )
    cost = jax.jit(jax.value_and_grad(counted.total))
    logits, state = 0.1 * passes.rng.standard_normal(mask.shape), passes.state
    zeros = jnp.zeros_like(passes.direction)
    weight = _softmax(logits, mask)
    drawn = np.where(mask, logits, -np.inf).argmax(-1)
    for gates in (Gates(jnp.asarray(weight)), one_hot(space, drawn, sampled=True)):
        losses = []
        for _ in range(steps):
            outputs, _ = passes.run(state, gates, images, zeros)
            loss, slope = _cross_entropy(outputs)
            losses.append(loss)
            _, (of_state, of_gates, _) = passes.run(state, gates, images, slope)
            assert np.isfinite(of_gates).all()
            state = _descended(state, of_state, 0.1)
        outputs, _ = passes.run(state, gates, images, zeros)
        # Of rounded weights the gradient is approximate, so that a single step may overshoot.
        losses.append(_cross_entropy(outputs)[0])
        assert min(losses[1:]) < losses[0], (gates.index, losses)
    before, slopes = cost(jnp.asarray(weight))
    cheaper = _softmax(logits - np.asarray(slopes) / np.abs(slopes).max(), mask)
    assert float(cost(jnp.asarray(cheaper))[0]) < float(before)
    chances = cheaper[np.arange(space.num_decisions), candidates].prod(axis=1)
    alone = passes.alone(candidates[chances.argmax()])
    outputs, _ = alone.run(state, images, zeros)
    loss, slope = _cross_entropy(outputs)
    _, (_, gradient, _) = alone.run(state, images, slope)
    trained, _ = alone.run(state, images, zeros, _descended(alone.still, gradient, 0.05))
    assert _cross_entropy(trained)[0] < loss


def _softmax(logits, mask):
    """Returns the softmax over the options there are, `float32[D, K]`."""
    share = np.where(mask, np.exp(logits), 0.0)
    return (share / share.sum(axis=1, keepdims=True)).astype(np.float32)


def _cross_entropy(outputs):
    """Returns the loss of labels that count through the classes, and its gradient."""
    outputs = np.asarray(outputs, float)
    share = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    rows = np.arange(len(outputs))
    labels = rows % outputs.shape[1]
    slope = (share - np.eye(outputs.shape[1])[labels]) / len(outputs)
    return -np.log(share[rows, labels]).mean(), jnp.asarray(slope, jnp.float32)


def _descended(values, gradients, length):
    """Returns values after a step of this length against their gradients, on the host."""

    def move(value, gradient):
        if not _is_float(value):
            return value
        return jnp.asarray(np.asarray(value) - rate * np.asarray(gradient))

    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(gradients) if _is_float(leaf)]
    rate = np.float32(length / np.sqrt(sum((leaf**2).sum() for leaf in leaves)))
    return jax.tree.map(move, values, gradients)


def _changes(alone, images, passes):
    """Returns by how much a rounding error in weights and images changes the network, by kind."""

    def moved(leaf):
        if not _is_float(leaf):
            return leaf
        factor = 1 + 1e-6 * passes.rng.standard_normal(leaf.shape)
        return jnp.asarray(np.asarray(leaf) * factor, leaf.dtype)

    def values(state, images):
        return _values(alone.run(state, images, passes.direction))

    before = values(passes.state, images)
    draws = [
        _differences(values(jax.tree.map(moved, passes.state), moved(images)), before)
        for _ in range(8)
    ]
    return np.max(draws, axis=0)


def _values(found):
    """Returns the outputs, the gradient of the images, and those of the supernet's weights."""
    outputs, (of_state, _, of_images) = found
    return [outputs, of_images, *(leaf for leaf in jax.tree.leaves(of_state) if _is_float(leaf))]


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


def _is_float(leaf):
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def _moved(state, floats):
    """Returns the state with `floats` added to its floating-point leaves."""
    leaves, structure = jax.tree.flatten(state)
    values = iter(floats)
    return jax.tree.unflatten(structure, [x + next(values) if _is_float(x) else x for x in leaves])
