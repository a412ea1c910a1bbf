"""Too few data for what a config asks are refused at once, with every option and count."""

import numpy as np
import pytest

from hwnas_jax.config import Config, override
from hwnas_jax.data import arrays
from hwnas_jax.data.sizes import (
    check_retraining_sizes,
    check_search_sizes,
    check_table_sizes,
)
from hwnas_jax.errors import UserError

ONE = override(Config(), parallel__devices=1)


def data(train, test=6):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (train + test, 4, 4), dtype=np.uint8)
    labels = np.arange(train + test) % 2
    return arrays(images[:train], labels[:train], images[train:], labels[train:], name="tiny")


def small(search, retrain, **changes):
    return override(ONE, search__batch_size=search, retrain__batch_size=retrain, **changes)


def said(check, *given):
    with pytest.raises(UserError) as caught:
        check(*given)
    return str(caught.value)


def test_everything_is_named_at_once():
    words = said(check_search_sizes, ONE, data(20))
    assert words == (
        "too few data: search.batch_size = 64 is more than the 10 in half of 20 train examples, "
        "which batches are drawn from; allowed are at most 10; retrain.batch_size = 64 is more "
        "than the 18 that retrain.validation_fraction leaves of 20 train examples, which batches "
        "are drawn from; allowed are at most 18"
    )


@pytest.mark.parametrize("count", [11, 20, 21, 40])
def test_what_is_allowed_is_allowed_and_no_more(count):
    """The limits are those of the parts that a search and a training are given."""
    from hwnas_jax.data.pipeline import holdout, split_halves

    dataset = data(count)
    half = min(map(len, split_halves(count, 0)))
    kept = len(holdout(dataset.train_targets, 0.1, 0)[0])
    check_search_sizes(small(half, kept), dataset)
    assert f"at most {half}" in said(check_search_sizes, small(half + 1, kept), dataset)
    check_retraining_sizes(small(999, kept), dataset)
    assert f"at most {kept}" in said(check_retraining_sizes, small(1, kept + 1), dataset)
    table = small(kept, 999)
    if count - kept >= 2:
        check_table_sizes(table, dataset)
    table = override(table, search__batch_size=kept + 1)
    assert f"at most {kept}" in said(check_table_sizes, table, dataset)


def test_batches_divide_by_devices_and_parts():
    config = small(64, 64, parallel__devices=8, search__accumulate=2)
    words = said(check_search_sizes, config, data(40))
    assert "the 20 in half" in words and "allowed are at most 16" in words
    assert "retrain.batch_size = 64" in words and "allowed are at most 32" in words
    words = said(check_search_sizes, config, data(24))
    assert "a batch is divided into 16 parts, so fewer devices or parts are needed" in words


def test_a_share_that_holds_nothing_out():
    words = said(check_search_sizes, small(1, 1), data(4))
    assert words.startswith(
        "retrain.validation_fraction = 0.1 of 4 train examples is less than one"
    )
    check_search_sizes(small(2, 2, retrain__validation_fraction=0.5), data(4))


def test_halves_of_one_example():
    assert "tiny has 3 train examples; a search needs at least 4" in said(
        check_search_sizes, small(1, 1, retrain__validation_fraction=0.4), data(3)
    )


def test_tables_judge_by_two_examples_at_least():
    config = small(4, 1, retrain__validation_fraction=0.1)
    words = said(check_table_sizes, config, data(10, test=1))
    assert "holds out 1 of 10 train examples; at least 2 judge a network" in words
    assert "there is 1 test example; at least 2 judge a network" in words
    words = said(check_table_sizes, small(64, 1), data(40))
    assert "search.batch_size = 64 is more than the 36 that retrain.validation_fraction" in words
