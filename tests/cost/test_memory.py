"""The peak of activations against the arrays of networks that really run."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.cost.models.analytic import AnalyticModel
from hwnas_jax.cost.models.base import predict_architectures
from hwnas_jax.cost.models.registry import load_cost_model
from hwnas_jax.cost.simulate.layers import trace
from hwnas_jax.cost.simulate.memory import (
    graph_peak_bytes,
    operation_workspace,
    peak_bytes,
    peak_table,
)
from hwnas_jax.cost.simulate.shape_programs import network_program
from hwnas_jax.nn.outputs import Output
from hwnas_jax.spaces import make_space

IN_PLACE = {
    "max", "min", "add", "sub", "mul", "div", "neg", "exp", "log", "rsqrt", "sqrt", "logistic",
    "tanh", "integer_pow", "reshape", "squeeze", "expand_dims", "convert_element_type", "copy",
    "select_n",
}  # fmt: skip


DENSE = (Output(2, dense=True),)
SEVERAL = (Output(5), Output(3, dense=True))


@functools.cache
def space():
    return make_space(
        "nasbench201", {"channels": 4, "cells": 2}, input_shape=(8, 8, 3), num_outputs=10
    )


@functools.cache
def table():
    return peak_table(space())


def cells():
    """Twenty at random, and some without a path from input to output."""
    rows = space().random(np.random.default_rng(3), 20)
    cut = np.array([[0, 3, 1, 0, 0, 0], [3, 0, 0, 0, 0, 0], [0] * 6], np.int32)
    return np.concatenate([rows, cut])


def run(architecture):
    """Runs a network equation by equation; returns the most bytes that were needed at once.

    Every equation is looked at with the whole rest of the program in hand: an array is needed as
    long as anything that is still to run reads it.
    """
    program = network_program(space(), architecture)
    closed = trace(program)
    arrays = [jnp.ones(s.shape, s.dtype) for s in [*program.weights, program.images]]
    script, values, fixed = [], [], []

    def new(value, is_fixed):
        values.append(value)
        fixed.append(is_fixed)
        return len(values) - 1

    def play(jaxpr, scope):
        for equation in jaxpr.eqns:
            inside = [p for p in equation.params.values() if hasattr(p, "jaxpr")]
            read = [scope.get(a) if not hasattr(a, "val") else None for a in equation.invars]
            given = [
                values[number] if number is not None else atom.val
                for number, atom in zip(read, equation.invars, strict=True)
            ]
            if inside:
                (called,) = inside
                consts = [new(value, True) for value in called.consts]
                numbers = [
                    number if number is not None else new(value, True)
                    for number, value in zip(read, given, strict=True)
                ]
                names = [*called.jaxpr.constvars, *called.jaxpr.invars]
                out = play(called.jaxpr, dict(zip(names, consts + numbers, strict=True)))
                scope.update(zip(equation.outvars, out, strict=True))
                continue
            result = equation.primitive.bind(*given, **equation.params)
            results = result if equation.primitive.multiple_results else [result]
            numbers = [number for number in read if number is not None]
            weights_only = bool(numbers) and all(fixed[number] for number in numbers)
            own = [new(value, weights_only) for value in results]
            scope.update(zip(equation.outvars, own, strict=True))
            script.append((equation.primitive.name, numbers, own))
        return [scope[atom] for atom in jaxpr.outvars]

    names = [*closed.jaxpr.constvars, *closed.jaxpr.invars]
    count = len(names) - 1
    numbers = [new(v, n < count) for n, v in enumerate([*closed.consts, *arrays])]
    outputs = play(closed.jaxpr, dict(zip(names, numbers, strict=True)))
    image, there, most = count, {count}, 0

    def size(which):
        return sum(values[number].nbytes for number in which if not fixed[number])

    assert image == numbers[-1]
    for position, (name, read, own) in enumerate(script):
        later = set(outputs).union(*(set(entry[1]) for entry in script[position + 1 :]))
        dying = [n for n in set(read) - later if not fixed[n] and values[n].nbytes == size(own)]
        written_over = name in IN_PLACE and dying
        most = max(most, size(there) + (0 if written_over else size(own)))
        there = (there | set(own)) & later
    return most


@pytest.mark.parametrize("architecture", cells(), ids=lambda row: "".join(map(str, row)))
def test_the_peak_is_that_of_the_arrays_of_a_network_that_runs(architecture):
    brute = run(architecture)
    program = network_program(space(), architecture)
    assert peak_bytes(trace(program), len(program.weights)) == brute
    assert table()[tuple(architecture)] == brute


@pytest.mark.parametrize("outputs", [DENSE, SEVERAL], ids=["dense", "several"])
def test_the_peak_of_decoders_is_that_of_their_network(outputs):
    """The graph knows which outputs of stages are kept for the decoder; the network's jaxpr too."""
    own = make_space(
        "nasbench201", {"channels": 4, "cells": 1}, input_shape=(9, 8, 3),
        num_outputs=sum(output.channels for output in outputs), outputs=outputs,
    )  # fmt: skip
    workspaces = {name: operation_workspace(each) for name, each in own.operations()[0].items()}
    for row in (np.array([3, 2, 4, 1, 0, 3], np.int32), np.array([0, 3, 1, 3, 0, 0], np.int32)):
        program = network_program(own, row)
        counted = peak_bytes(trace(program), len(program.weights))
        found = graph_peak_bytes(own.graph(row), workspaces, 4 * 9 * 8 * 3)
        # Beside the outputs stand the logarithms of their variances.
        assert abs(found - counted) <= (2 * 4 * len(outputs) if len(outputs) > 1 else 0)


def test_the_counted_peak_goes_by_hand():
    """8x8 images: relu of a value that is read again takes an array of its own."""

    def call(w, x):
        y = jax.nn.relu(x) @ w[0]
        return y + jax.nn.relu(x)

    shapes = [jax.ShapeDtypeStruct((4, 4), jnp.float32)], jax.ShapeDtypeStruct((16, 4), jnp.float32)
    closed = jax.make_jaxpr(call)(*shapes)
    array = 16 * 4 * 4
    assert peak_bytes(closed, 1) == 3 * array  # x, relu(x) and its product
    assert peak_bytes(closed, 1, keep_input=True) == 3 * array


def test_loops_have_no_counted_peak():
    closed = jax.make_jaxpr(lambda x: jax.lax.fori_loop(0, 3, lambda i, v: v + 1, x))(jnp.ones(3))
    with pytest.raises(ValueError, match="not fixed"):
        peak_bytes(closed, 0)


def test_between_architectures_it_is_the_expectation():
    model = AnalyticModel.count(space(), memory=True)
    assert "peak_memory_mib" in model.metrics
    rng = np.random.default_rng(0)
    weight = rng.dirichlet(np.ones(5), size=6)
    everything = space().enumerate()
    chances = np.prod([weight[d, everything[:, d]] for d in range(6)], axis=0)
    expected = chances @ table()[tuple(everything.T)] / 2**20

    def predict(weight):
        return model.predict(weight)["peak_memory_mib"]

    as_array = jnp.asarray(weight, jnp.float32)
    np.testing.assert_allclose(predict(as_array), expected, rtol=1e-5)
    gradient = jax.grad(predict)(as_array)
    for d, k in itertools.product(range(6), range(5)):
        # Linear in every entry, so a difference quotient is exact.
        moved = [predict(as_array.at[d, k].add(step)) for step in (0.5, -0.5)]
        np.testing.assert_allclose(gradient[d, k], moved[0] - moved[1], rtol=1e-3, atol=1e-6)


def test_it_is_exact_on_architectures_and_survives_its_file(tmp_path):
    model = AnalyticModel.count(space(), memory=True)
    model.save(tmp_path / "model.npz", space())
    rows = space().random(np.random.default_rng(1), 50)
    for each in (model, load_cost_model(tmp_path / "model.npz", space())):
        predicted = predict_architectures(each, rows, 5)["peak_memory_mib"]
        np.testing.assert_allclose(predicted, table()[tuple(rows.T)] / 2**20, rtol=1e-6)


def test_more_cells_need_no_more_at_the_peak():
    deep = make_space(
        "nasbench201", {"channels": 4, "cells": 3}, input_shape=(8, 8, 3), num_outputs=10
    )
    np.testing.assert_array_equal(peak_table(deep), table())
