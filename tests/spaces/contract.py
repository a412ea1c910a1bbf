"""What every search space must keep, checked against independent ways to compute the same."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.nn.platform import platform
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces import Space, from_spec, sum_places, sum_terms
from hwnas_jax.spaces.base import Choices, Forms

KINDS = ("logits", "images", "weights")
DRAWS = 50


def one_hot(space: Space, architecture: np.ndarray, *, sampled: bool) -> Gates:
    weight = jnp.asarray(np.eye(space.num_options, dtype=np.float32)[architecture])
    return Gates(weight, jnp.asarray(architecture, jnp.int32) if sampled else None)


def check_supernet_equals_network(
    space: Space,
    *,
    count: int = 50,
    batch: int = 4,
    seed: int = 0,
    tolerance: float = 1e-4,
) -> None:
    """At one-hot gates the supernet is the stand-alone network: value and gradient.

    The gradient is that of the inputs and of every weight the network inherits: `space.inherit` is
    linear, so the network's gradient pulled back through it must be the supernet's.

    The mixed supernet runs in this machine's forms of the operations; the network and the sampled
    supernet, which hold many more programs, in plain convolutions, which compile several times as
    fast. A difference in logits or gradients counts if the network itself keeps that kind of value
    when its weights and images are moved by a rounding error. Where it does not, some value lies on
    the bend of a ReLU or on the edge between two levels, what is computed there is up to the
    compiler, and other images are drawn, a bounded number of times.
    """
    rng = np.random.default_rng(seed)
    graph, like = nnx.split(abstract(space.supernet))
    state = _drawn(space, like, rng)
    images = jnp.asarray(rng.standard_normal((batch, *space.input_shape)), jnp.float32)
    direction = jnp.asarray(rng.standard_normal((batch, space.num_outputs)), jnp.float32)
    runs = {}

    def loss(state, images, weight, index, direction):
        logits = nnx.merge(graph, state)(images, Gates(weight, index))
        return (logits * direction).sum(), logits

    for sampled in (False, True):
        runs[sampled] = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))

    def run(architecture, images, *, sampled):
        gates = one_hot(space, architecture, sampled=sampled)
        with platform("gpu" if sampled else None):
            return runs[sampled](state, images, *gates, direction)

    for architecture in space.random(rng, count):
        network = abstract(lambda rngs, a=architecture: space.network(a, rngs))
        network.train()
        own_graph, like = nnx.split(network)

        def inherited(state, like=like, own_graph=own_graph, architecture=architecture):
            """Returns the network's state with the supernet's weights."""
            network = nnx.merge(own_graph, _filled(like))
            space.inherit(network, architecture, nnx.merge(graph, state))
            return nnx.split(network)[1]

        def own_loss(own, images, direction, own_graph=own_graph):
            logits = nnx.merge(own_graph, own)(images)
            return (logits * direction).sum(), logits

        with platform("gpu"):
            own, pull = jax.vjp(lambda s, inherited=inherited: _floats(inherited(s)), state)
            whole = inherited(state)
            reference = jax.value_and_grad(
                lambda own, images, whole=whole, own_loss=own_loss: own_loss(
                    _with_floats(whole, own), images, direction
                ),
                argnums=(0, 1), has_aux=True,
            )  # fmt: skip
        label = space.to_string(architecture)
        for _ in range(DRAWS):
            with platform("gpu"):
                (_, expected), (own_gradient, image_gradient) = reference(own, images)
            (state_gradient,) = pull(own_gradient)
            theirs = [expected, image_gradient, *jax.tree.leaves(state_gradient)]
            found = {}
            for sampled in runs:
                (_, logits), gradients = run(architecture, images, sampled=sampled)
                ours = [logits, gradients[1], *jax.tree.leaves(gradients[0])]
                found[sampled] = _differences(ours, theirs)
            if max(map(max, found.values())) <= tolerance:
                break
            with platform("gpu"):
                own_changes = _changes(reference, own, images, rng)
            for sampled, differences in found.items():
                for kind, off, change in zip(KINDS, differences, own_changes, strict=True):
                    assert off <= tolerance or change > tolerance, (
                        f"{label} sampled={sampled} {kind}: off by {off:.2e} of the largest value, "
                        f"where rounding changes the network itself by {change:.2e}"
                    )
            images = jnp.asarray(rng.standard_normal(images.shape), jnp.float32)
        else:
            raise AssertionError(f"{label}: differs, and is not steady, on {DRAWS} draws of images")


def _changes(reference, own, images, rng):
    """Returns by how much a rounding error in weights and images changes the network, by kind."""

    def moved(leaf):
        return leaf * jnp.asarray(1 + 1e-6 * rng.standard_normal(leaf.shape), leaf.dtype)

    def values(own, images):
        (_, logits), (own_gradient, image_gradient) = reference(own, images)
        return [logits, image_gradient, *own_gradient]

    before = values(own, images)
    draws = [
        _differences(values([moved(leaf) for leaf in own], moved(images)), before) for _ in range(8)
    ]
    return np.max(draws, axis=0)


def _differences(ours, theirs):
    """Returns the largest difference of each kind, as a share of the largest value of its kind.

    Both are the logits, the images' gradient, and the weights' gradients one after another.
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


def check_codecs(space: Space, *, count: int = 200, seed: int = 0) -> None:
    """Strings, names and the description of the space round-trip; canonical forms are stable."""
    rows = space.random(np.random.default_rng(seed), count)
    canonical = space.canonical(rows)
    np.testing.assert_array_equal(space.canonical(canonical), canonical)
    if space.mixes_canonical:
        check_mixture(space, seed=seed)
    again = from_spec(space.spec)
    assert again.spec == space.spec
    for row, form in zip(rows, canonical, strict=True):
        np.testing.assert_array_equal(again.from_names(space.to_names(row)), row)
        text = space.to_string(row)
        parsed = again.from_string(text)
        assert space.to_string(parsed) == text
        np.testing.assert_array_equal(space.canonical(parsed[None])[0], form)


def mean_of_products(mixture: tuple[Forms, ...], values: np.ndarray) -> float:
    """Returns the expectation of the product over decisions of the canonical options' values."""
    factors = [
        (np.asarray(rows, float) * values[decisions]).sum(-1).prod(-1) @ np.asarray(coefficient)
        for decisions, coefficient, rows in mixture
    ]
    return float(np.prod(factors))


def check_mixture(space: Choices, *, count: int = 20, seed: int = 0) -> None:
    """The mixture is the mean over canonical forms, where a few decisions have two options each."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.5, 1.5, space.mask.shape)
    decisions = np.arange(space.num_decisions)
    mixture = jax.jit(space.canonical_mixture)
    held = np.concatenate([forms.decisions for forms in mixture(jnp.asarray(space.mask, float))])
    np.testing.assert_array_equal(np.sort(held), decisions)
    for _ in range(count):
        row, other = space.random(rng, 2)
        chance = np.zeros(len(row))
        chance[rng.choice(len(row), min(5, len(row)), replace=False)] = rng.uniform(0.2, 0.8)
        chance[row == other] = 0.0
        mixed = np.flatnonzero(chance)
        expected = 0.0
        for taken in itertools.product((False, True), repeat=len(mixed)):
            form = row.copy()
            form[mixed] = np.where(taken, other[mixed], row[mixed])
            share = np.where(taken, chance[mixed], 1 - chance[mixed]).prod()
            expected += share * values[decisions, space.canonical(form[None])[0]].prod()
        eye = np.eye(space.num_options)
        weight = (1 - chance[:, None]) * eye[row] + chance[:, None] * eye[other]
        found = mean_of_products(mixture(jnp.asarray(weight, jnp.float32)), values)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def check_counts(space: Space, *, count: int = 20, seed: int = 0, extra: int = 0) -> None:
    """Operation tables add up to the stand-alone network's own parameters and products.

    Canonical forms are looked at: elsewhere a network may hold what it does not run. Parameters are
    counted in the built network, products in its jaxpr. `extra` is what the space
    counts beside products, as its paper does (the additions of a bias).
    """
    operations = space.operations()[0]
    params = sum_terms(space, {name: op.params for name, op in operations.items()})
    macs = sum_terms(space, {name: op.macs for name, op in operations.items()})
    for row in space.canonical(space.random(np.random.default_rng(seed), count)):
        weight = jnp.asarray(np.eye(space.num_options, dtype=np.float32)[row])
        network = abstract(lambda rngs, a=row: space.network(a, rngs))
        leaves = jax.tree.leaves(nnx.state(network, nnx.Param))
        built = sum(leaf.size for leaf in leaves)
        assert round(float(params.total(weight))) == built, space.to_string(row)
        counted = network_macs(space, row) + extra
        assert abs(float(macs.total(weight)) - counted) <= 1e-5 * counted, space.to_string(row)


def check_tables_agree(space: Space) -> None:
    """The marginal table is the mean over uniform draws."""
    operations = space.operations()[0]
    values = {name: float(op.macs) for name, op in operations.items()}
    terms, (table, constant) = sum_terms(space, values), sum_places(space, values)
    uniform = space.mask / space.mask.sum(axis=1, keepdims=True)
    expected = float(terms.total(jnp.asarray(uniform, jnp.float32)))
    np.testing.assert_allclose((uniform * table).sum() + constant, expected, rtol=1e-4)


def network_macs(space: Space, architecture: np.ndarray) -> int:
    """Counts the products of convolutions and matrix products that the network's jaxpr holds.

    Work that a space leaves out of its published counts must be left out by the caller.
    """
    module = abstract(lambda rngs: space.network(architecture, rngs))
    module.eval()
    graph, state = nnx.split(module)
    image = jax.ShapeDtypeStruct((1, *space.input_shape), jnp.float32)
    with platform("gpu"):  # plain convolutions
        jaxpr = jax.make_jaxpr(lambda state, x: nnx.merge(graph, state)(x))(state, image)
    return _products(jaxpr.jaxpr)


def _products(jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            numbers = equation.params["dimension_numbers"].rhs_spec
            out = equation.outvars[0].aval.size
            total += out * int(np.prod(kernel)) // kernel[numbers[0]]
        elif name == "dot_general":
            (contract, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += equation.outvars[0].aval.size * int(np.prod([left[a] for a in contract]))
        else:
            inner = [
                p for v in equation.params.values() for p in (v if isinstance(v, tuple) else (v,))
            ]
            for value in inner:
                body = getattr(value, "jaxpr", value)
                if hasattr(body, "eqns"):
                    turns = equation.params.get("length", 1) if name == "scan" else 1
                    total += turns * _products(body)
    return total
