import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas_jax.errors import Interrupted, UserError, choose, nearest


def test_choose_returns_what_is_allowed():
    assert choose("table", ("mlp", "table"), "cost model") == "table"


def test_choose_names_given_allowed_and_nearest():
    with pytest.raises(UserError) as caught:
        choose("mpl", ("mlp", "table"), "cost model")
    message = str(caught.value)
    for part in ("cost model", "'mpl'", "mlp, table", "Did you mean 'mlp'?"):
        assert part in message


def test_choose_offers_nothing_far_away():
    with pytest.raises(UserError, match=r"allowed are mlp, table\.$"):
        choose("zzzz", ("mlp", "table"), "cost model")


@pytest.mark.parametrize("given", [None, 3, [], {}])
def test_choose_takes_any_value(given):
    with pytest.raises(UserError, match="allowed are"):
        choose(given, ("pmap", "shard_map"), "backend")


def test_nearest_ignores_case():
    assert nearest("DIGITZ", ["digits", "idx"]) == "digits"


@given(st.text(), st.lists(st.text(), max_size=5))
def test_nearest_is_allowed_or_none(given, allowed):
    found = nearest(given, allowed)
    assert found is None or found in allowed


def test_interrupted_keeps_its_signal():
    assert Interrupted("stopped", 15).signum == 15
