"""The contract of a search space, checked against independent ways to compute the same."""

import collections
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.nn.initialisation import abstract, weight_rngs
from hwnas_jax.nn.platform import platform
from hwnas_jax.relax.base import Gates, one_hot_gates
from hwnas_jax.spaces import Space, from_spec, sum_places, sum_terms
from hwnas_jax.spaces.core.choices import Choices, Forms
from hwnas_jax.spaces.core.mixture import effective_options


def one_hot(space: Choices, architecture: np.ndarray, *, sampled: bool) -> Gates:
    """Returns the gates of an architecture."""
    return one_hot_gates(jnp.asarray(architecture), space.num_options, sampled=sampled)


def covering(
    space: Choices, *, effective: bool = True, seed: int = 0, draws: int = 2000
) -> np.ndarray:
    """Returns a few architectures that together have every option of every decision, `int32[N, D]`.

    Many architectures are drawn. Then the one with the most options that are still missing is taken
    again and again. With `effective`, an option counts only if it has an effect: an operation on an
    edge that reaches the output, a kernel in a layer that is there.
    """
    drawn = space.random(np.random.default_rng(seed), draws)
    eye = np.eye(space.num_options + 1, dtype=bool)
    assert (eye[drawn].any(axis=0)[:, :-1] == space.mask).all(), "some options are hardly drawn"
    chosen = effective_options(space, drawn) if effective else drawn
    has = eye[chosen][:, :, :-1].reshape(draws, -1)
    wanted, taken = has.any(axis=0), []
    while wanted.any():
        best = int((has & wanted).sum(axis=1).argmax())
        wanted &= ~has[best]
        taken.append(best)
    return drawn[taken]


def check_codecs(space: Space, *, count: int = 200, seed: int = 0) -> None:
    """Strings, names and the description of the space round-trip; canonical forms are stable.

    What the space declares of itself is so.
    """
    kind = type(space)
    assert space.constrained == (kind.feasible is not Choices.feasible)
    if not space.mixes_canonical:
        assert kind.canonical_mixture is Choices.canonical_mixture or space.name == "codesign"
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


def check_counts(space: Space, architectures: np.ndarray | None = None, *, extra: int = 0) -> None:
    """Operation tables add up to the stand-alone network's own parameters and products.

    Parameters are counted in the built network, products in its jaxpr. Canonical forms are built,
    since another form may hold operations that do not run. `extra` is counted beside products, as
    the space's paper does (the additions of a bias). By default the architectures have every option
    of every decision. Logarithms of variances, one for each of several outputs, are no operation's.
    """
    log_variances = len(space.outputs) if len(space.outputs) > 1 else 0
    operations = space.operations()[0]
    params = sum_terms(space, {name: op.params for name, op in operations.items()})
    macs = sum_terms(space, {name: op.macs for name, op in operations.items()})
    for row in space.canonical(covering(space) if architectures is None else architectures):
        weight = jnp.asarray(np.eye(space.num_options, dtype=np.float32)[row])
        network = abstract(lambda rngs, a=row: space.network(a, rngs))
        leaves = jax.tree.leaves(nnx.state(network, nnx.Param))
        built = sum(leaf.size for leaf in leaves) - log_variances
        assert round(float(params.total(weight))) == built, space.to_string(row)
        counted = _network_macs(space, network) + extra
        assert abs(float(macs.total(weight)) - counted) <= 1e-5 * counted, space.to_string(row)


def check_shapes(space: Space, architecture: np.ndarray) -> None:
    """Supernet and network return what `output_shape` says, and have gradients; nothing is run."""
    supernet = abstract(space.supernet)
    assert hasattr(supernet, "features") == space.has_features
    network = abstract(lambda rngs: space.network(architecture, rngs))
    images = jax.ShapeDtypeStruct((2, *space.input_shape), jnp.float32)
    weight = jax.ShapeDtypeStruct(space.mask.shape, jnp.float32)
    index = jax.ShapeDtypeStruct((space.num_decisions,), jnp.int32)
    for module, gates in ((supernet, (weight, None)), (supernet, (weight, index)), (network, ())):
        graph, weights, rest = nnx.split(module, nnx.Param, ...)

        def loss(weights, rest, images, gates, graph=graph):
            own = jax.tree.map(lambda leaf: leaf, rest)  # variables that may be set in this trace
            outputs = nnx.merge(graph, weights, own)(images, *([Gates(*gates)] if gates else []))
            return outputs.sum(), outputs

        of = jax.value_and_grad(loss, has_aux=True)
        (_, outputs), slopes = jax.eval_shape(of, weights, rest, images, gates)
        assert outputs.shape == (2, *space.output_shape)
        assert jax.tree.map(jnp.shape, slopes) == jax.tree.map(jnp.shape, weights)


def check_graph(space: Space, architecture: np.ndarray) -> None:
    """The graph of a network has the operations that stand in it, and its last value is the output.

    Shapes are followed from step to step through the operations' own modules.
    """
    steps = space.graph(architecture)
    if steps is None:
        return
    operations, places = space.operations()
    standing = collections.Counter()
    for place in places:
        if all(architecture[decision] == option for decision, option in place.when):
            standing[place.operation] += place.count
    assert collections.Counter(s.operation for s in steps if s.kind == "operation") == standing
    shapes = [(1, *space.input_shape)]
    for step in steps:
        read = [shapes[value] for value in step.inputs]
        if step.kind == "operation":
            own = operations[step.operation]
            assert read == [(1, *own.input_shape)], step.operation
            module = abstract(own.build)
            like = jax.ShapeDtypeStruct(read[0], jnp.float32)
            shapes.append(jax.eval_shape(lambda m, x: m(x), module, like).shape)
        elif step.kind == "join":
            shapes.append((1, sum(map(math.prod, read))))
        else:
            assert len(set(read)) == 1, step
            shapes.append(read[0])
    log_variances = len(space.outputs) if len(space.outputs) > 1 else 0
    assert math.prod(shapes[-1]) + log_variances == math.prod(space.output_shape)


def check_same_outputs(space: Space, architecture: np.ndarray, *, sampled: bool) -> None:
    """At one-hot gates the supernet returns what the network returns that inherits its weights."""
    gates = one_hot(space, architecture, sampled=sampled)

    def both(images):
        supernet = space.supernet(weight_rngs(jax.random.key(0)))
        network = space.network(architecture, weight_rngs(jax.random.key(1)))
        space.inherit(network, architecture, supernet)
        network.train()
        return supernet(images, gates), network(images)

    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.standard_normal((3, *space.input_shape)), jnp.float32)
    with platform("gpu"):  # plain convolutions compile in less time
        found, expected = jax.jit(both)(images)
    assert found.shape == (3, *space.output_shape) and float(jnp.ptp(found)) > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def check_tables_agree(space: Space) -> None:
    """The marginal table is the mean over uniform draws."""
    operations = space.operations()[0]
    values = {name: float(op.macs) for name, op in operations.items()}
    terms, (table, constant) = sum_terms(space, values), sum_places(space, values)
    uniform = space.mask / space.mask.sum(axis=1, keepdims=True)
    expected = float(terms.total(jnp.asarray(uniform, jnp.float32)))
    np.testing.assert_allclose((uniform * table).sum() + constant, expected, rtol=1e-4)


def _network_macs(space: Space, network: nnx.Module) -> int:
    """Counts the products of convolutions and matrix products in the network's jaxpr."""
    network.eval()
    graph, state = nnx.split(network)
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
