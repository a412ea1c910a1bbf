"""Losses, the teacher, and the rating of candidates against each candidate by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.errors import UserError
from hwnas_jax.relax.base import Gates
from hwnas_jax.search.blockwise import rating
from hwnas_jax.search.blockwise.imitation import (
    LOSSES,
    block_output,
    make_student,
    single_path,
)
from hwnas_jax.search.blockwise.rating import candidates_of, make_rating, part_choices
from hwnas_jax.search.blockwise.teacher import block_shapes, check_teacher, teacher_of
from hwnas_jax.spaces import make_space
from tests.helpers import initialise
from tests.search.blockwise.small import CELL, SHAPE, SPACE, SUPERNET, TAUGHT, images, teacher


def test_losses_are_on_the_scale_of_the_teacher():
    rng = np.random.default_rng(0)
    found, wanted = rng.normal(size=(2, 5, 4, 4, 3)) * 7 + 2
    np.testing.assert_allclose(
        LOSSES["relative_l1"](found, wanted), np.abs(found - wanted).mean() / wanted.std(),
        rtol=1e-5,
    )  # fmt: skip
    np.testing.assert_allclose(
        LOSSES["mse"](found, wanted), ((found - wanted) ** 2).mean() / wanted.var(), rtol=1e-5
    )
    for loss in LOSSES.values():
        np.testing.assert_allclose(loss(3 * found, 3 * wanted), loss(found, wanted), rtol=1e-5)


def test_the_teacher_is_the_network_and_passes_no_gradient():
    network = initialise(lambda rngs: TAUGHT.network(CELL, rngs), seed=1)
    network.eval()
    own, x = teacher(), images(3)
    assert own.shapes == ((8, 8, 4), (4, 4, 8), (2, 2, 16))
    found = jax.jit(own.features)(own.state, x)
    wanted = nnx.jit(lambda network, x: network.features(x))(network, x)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    gradient = jax.jit(jax.grad(lambda x: own.features(own.state, x)[-1].sum()))(x)
    assert not np.asarray(gradient).any()


def test_only_where_channels_differ_there_are_projections():
    wide = [shape[-1] for shape in block_shapes(SPACE)]
    taught = ((8, 8, wide[0]), (4, 4, 5), (2, 2, wide[2]))
    student = make_student(SPACE, SUPERNET, taught, jax.random.key(0))
    assert [k if k is None else k.shape[2:] for k in student.before] == [None, None, (5, wide[1])]
    assert [k if k is None else k.shape[2:] for k in student.after] == [None, (wide[1], 5), None]


@pytest.mark.parametrize("number", range(3))
def test_the_tree_rates_every_candidate_like_one_by_itself(number):
    own, loss = teacher(), LOSSES["relative_l1"]
    student = make_student(SPACE, SUPERNET, own.shapes, jax.random.key(2))
    batches = images(12).reshape(2, 6, 8, 8, 1)
    rate = make_rating(SPACE, SUPERNET, own.features, loss, number)
    found = rate(student, own.state, batches)
    rows = candidates_of(SPACE, number)
    decisions = SPACE.cut_blocks[number].decisions
    assert len(rows) == np.prod([len(SPACE.decisions[d].options) for d in decisions])
    assert len(np.unique(rows, axis=0)) == len(rows) == len(found)

    @jax.jit
    def alone(row):
        index = jnp.zeros(SPACE.num_decisions, jnp.int32).at[np.array(decisions)].set(row)
        gates = Gates(jax.nn.one_hot(index, SPACE.num_options), index)

        def one(x):
            taught = own.features(own.state, x)
            return loss(block_output(SUPERNET, student, number, x, taught, gates), taught[number])

        return jax.lax.map(one, batches).mean()

    wanted = [float(alone(row)) for row in rows]
    np.testing.assert_allclose(found, wanted, rtol=2e-4)
    assert np.ptp(wanted) > 1e-3


def test_cells_that_build_one_network_are_one_candidate():
    choices = part_choices(TAUGHT, 1)
    assert choices[0].shape == (1, 0)
    every = TAUGHT.enumerate()
    assert len(choices[1]) == len(np.unique(TAUGHT.canonical(every), axis=0)) < len(every)
    np.testing.assert_array_equal(candidates_of(TAUGHT, 0), choices[1])


def test_paths_are_drawn_evenly_among_the_options():
    mask = np.array([[True, True, True], [True, False, True]])
    gates = jax.vmap(lambda key: single_path(key, mask))(jax.random.split(jax.random.key(0), 3000))
    share = np.asarray(gates.weight).mean(0)
    np.testing.assert_allclose(share, [[1 / 3] * 3, [0.5, 0, 0.5]], atol=0.04)
    np.testing.assert_array_equal(np.asarray(gates.weight).argmax(-1), gates.index)


def test_what_does_not_fit_is_named():
    small = make_space("nasbench_macro", {"width": 0.125, "halvings": 3}, **SHAPE)
    with pytest.raises(UserError, match=r"block 1 of nasbench_macro returns 4x4x8, .*8x8x4"):
        check_teacher(small, teacher())
    six = make_space("dna", {"width": 0.25, "halvings": 2, "depth": 1}, **SHAPE)
    with pytest.raises(UserError, match=r"has 3 stages, and dna has 6 blocks"):
        check_teacher(six, teacher())
    darts = make_space("darts", {"channels": 4}, input_shape=(16, 16, 3), num_outputs=3)
    with pytest.raises(UserError, match=r"darts cannot be cut.*nasbench201"):
        check_teacher(darts, teacher())
    with pytest.raises(UserError, match="does not tell the features of its stages"):
        teacher_of(object(), (8, 8, 1), "this")


def test_too_many_candidates_are_refused(monkeypatch):
    large = make_space("dna", {"halvings": 2}, input_shape=(32, 32, 3), num_outputs=3)
    assert len(candidates_of(large, 1)) == 6**4
    monkeypatch.setattr(rating, "MOST", 1000)
    with pytest.raises(UserError, match="block 2 of dna has more than 1,000 candidates"):
        part_choices(large, 1)
