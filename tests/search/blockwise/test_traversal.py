"""The traversal against an enumeration of all combinations."""

import itertools

import numpy as np
import pytest

from hwnas_jax.search.blockwise.traversal import Problem, traverse


def enumerated(problem):
    """Returns all combinations that meet the budgets, and their losses, in rising order."""
    every = np.array(list(itertools.product(*(range(len(own)) for own in problem.losses))))
    every = every[problem.meets(every)]
    loss = sum(own[every[:, g]] for g, own in enumerate(problem.losses))
    order = np.argsort(loss, kind="stable")
    return every[order], loss[order]


def random_problem(seed, sizes, *, tight, ripple=0.0):
    """Two budgets; losses fall with costs, and a remainder of up to `ripple` is no sum."""
    rng = np.random.default_rng(seed)
    costs = [rng.uniform(0, 1, (size, 2)) for size in sizes]
    losses = [2 - own.sum(-1) + rng.uniform(0, 1, len(own)) for own in costs]
    limits = np.array([tight, 1.2 * tight]) * len(sizes)

    def whole(chosen):
        total = sum(own[chosen[:, g]] for g, own in enumerate(costs))
        return total + ripple * np.sin(17 * chosen.sum(-1) + chosen[:, 0])[:, None]

    return Problem(losses, costs, limits + ripple, lambda rows: (whole(rows) <= limits).all(-1))


@pytest.mark.parametrize("ripple", [0.0, 0.2])
@pytest.mark.parametrize("tight", [0.15, 0.3, 0.6])
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_enumeration_under_two_budgets(seed, tight, ripple):
    problem = random_problem(seed, (5, 9, 1, 7, 4), tight=tight, ripple=ripple)
    every, loss = enumerated(problem)
    found = traverse(problem, 8)
    assert found.optimal
    np.testing.assert_allclose(found.loss, loss[:8], rtol=1e-12)
    np.testing.assert_array_equal(found.chosen, every[:8])


def test_fewer_than_asked_for_are_all_that_there_are():
    problem = random_problem(3, (3, 2, 3), tight=0.4)
    every, loss = enumerated(problem)
    found = traverse(problem, 100)
    assert 0 < len(every) < 18 and len(found.chosen) == len(every)
    np.testing.assert_allclose(found.loss, loss)


def test_nothing_meets_a_budget_that_is_too_small():
    found = traverse(random_problem(0, (4, 4), tight=-1.0))
    assert len(found.chosen) == 0 and found.optimal


def test_what_only_the_whole_cost_model_refuses_is_nothing_too():
    problem = random_problem(0, (4, 4), tight=2.0)
    found = traverse(problem._replace(meets=lambda rows: np.zeros(len(rows), bool)))
    assert len(found.chosen) == 0 and found.optimal


def test_a_visit_that_ends_early_says_so_and_bounds_the_rest():
    problem = random_problem(1, (40, 40, 40, 40), tight=0.4, ripple=0.3)
    whole, early = traverse(problem), traverse(problem, most=2000)
    assert whole.optimal and not early.optimal
    assert early.bound <= whole.loss[0] <= early.loss[0]


@pytest.mark.parametrize("tight", [0.2, 0.5])
def test_the_size_of_dna_with_a_proof(tight):
    """Six blocks with up to 1,296 candidates, whose budgets and losses are at odds."""
    problem = random_problem(5, (36, 1296, 1296, 1296, 1296, 6), tight=tight)
    found = traverse(problem, 16)
    assert found.optimal and len(found.chosen) == 16
    assert found.visited < 50_000_000
    assert problem.meets(found.chosen).all()
    # No exchange of two candidates finds anything better.
    best, loss = found.chosen[0], found.loss[0]
    for g, h in itertools.combinations(range(6), 2):
        pairs = np.stack(
            np.meshgrid(
                range(0, len(problem.losses[g]), 7),
                range(0, len(problem.losses[h]), 7),
                indexing="ij",
            ),
            -1,
        )
        rows = np.repeat(best[None], pairs[..., 0].size, 0)
        rows[:, [g, h]] = pairs.reshape(-1, 2)
        losses = sum(own[rows[:, k]] for k, own in enumerate(problem.losses))
        assert losses[problem.meets(rows)].min(initial=np.inf) >= loss - 1e-12
