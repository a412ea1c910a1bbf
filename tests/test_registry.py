"""Methods by name, from a user's file and from packages: what is found, and what is said."""

import dataclasses
import textwrap
from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
import pytest
from annotated_types import Gt

from hwnas_jax import registry
from hwnas_jax.budgets import BUDGETS, FixedWeight, check_budget
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part, Registry, checked_options
from hwnas_jax.relax import RELAXATIONS, Relaxation, Softmax, check_relaxation
from hwnas_jax.search.estimators import ESTIMATORS, Backprop, check_estimator

REGISTRIES = {every.kind: every for every in (RELAXATIONS, BUDGETS, ESTIMATORS)}
NAMES = [(kind, name) for kind, every in REGISTRIES.items() for name in every]
MASK = np.array([[True, True, False], [True, True, True]])

OWN = """
    import dataclasses
    from typing import Annotated

    from annotated_types import Gt

    from hwnas_jax.relax import RELAXATIONS, Gates, Relaxation, Softmax

    @dataclasses.dataclass(frozen=True)
    class Sharp(Relaxation):
        name = "sharp"
        summary = "softmax of sharpened logits"

        power: Annotated[float, Gt(0)] = 2.0

        def sample(self, key, params, mask, temperature):
            return Gates(self.probabilities(self.power * params, mask))
"""


@pytest.fixture
def own():
    """A registry that a test may add to."""
    made = Registry("relaxation", Relaxation, "hwnas_jax.tested")
    made.add(Softmax)
    return made


@pytest.fixture
def write(tmp_path):
    """Writes a user's file and returns the name of a class in it."""

    def write(text, attribute="Sharp", file="own_method_file.py"):
        (tmp_path / file).write_text(textwrap.dedent(text))
        return f"{tmp_path / file}:{attribute}"

    return write


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_every_method_is_described_and_its_defaults_are_allowed(kind, name):
    method = REGISTRIES[kind][name]
    assert method.name == name
    assert method.summary and "\n" not in method.summary and len(method.summary) < 90
    made = REGISTRIES[kind].make(Part(name))
    assert isinstance(made, method)
    defaults = dataclasses.asdict(made)
    assert checked_options(method, defaults, name) == defaults


def test_options_reach_the_method():
    made = RELAXATIONS.make(Part("drnas", {"kl_weight": 0.5, "learning_rate": 1}))
    assert (made.kl_weight, made.learning_rate) == (0.5, 1.0)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="unknown relaxation 'drnass'") as caught:
        RELAXATIONS.find("drnass")
    assert "Did you mean 'drnas'?" in str(caught.value)
    for name in RELAXATIONS:
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"kl_wieght": 1.0}, "unknown option of the relaxation drnas 'kl_wieght'.*'kl_weight'"),
        ({"kl_weight": "much"}, "relaxation drnas: kl_weight = 'much' must be a number"),
        ({"kl_weight": -1.0}, "kl_weight = -1.0 must be greater than or equal to 0"),
        ({"kl_weight": float("nan")}, "kl_weight = nan must be a finite number"),
        ({"learning_rate": 0.0}, "learning_rate = 0.0 must be greater than 0"),
        ({"learning_rate": True}, "learning_rate = True must be a number"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_allowed(args, said):
    with pytest.raises(UserError, match=said):
        RELAXATIONS.make(Part("drnas", args))


@pytest.mark.parametrize("terms", [0, 1.5, "3"])
def test_an_integer_option_takes_integers_in_its_range(terms):
    with pytest.raises(UserError, match=f"estimator implicit: terms = {terms!r} must be"):
        ESTIMATORS.make(Part("implicit", {"terms": terms}))
    assert ESTIMATORS.make(Part("implicit", {"terms": 4})).terms == 4


@dataclasses.dataclass(frozen=True)
class Lists:
    words: tuple[Literal["a", "b"], ...] = ("a",)
    sizes: tuple[Annotated[int, Gt(0)], ...] = ()
    weights: Literal["equal"] | dict[str, Annotated[float, Gt(0)]] = "equal"
    text: str = ""


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("words", "a,b", ("a", "b")),
        ("words", "b", ("b",)),
        ("words", ' ["b", "a"]', ("b", "a")),
        ("sizes", "3, 4", (3, 4)),
        ("weights", "equal", "equal"),
        ("weights", '{"x": 2, "y.z": 0.5}', {"x": 2.0, "y.z": 0.5}),
        ("text", "a,b", "a,b"),
        ("text", '{"x": 2}', '{"x": 2}'),
    ],
)
def test_a_text_says_lists_and_tables(key, text, value):
    assert checked_options(Lists, {key: text}, "task x") == {key: value}


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("words", "a,c", "words = 'a,c' must be 'a' or 'b'"),
        ("sizes", "3,0", "sizes = '3,0' must be greater than 0"),
        ("sizes", "3,x", "sizes = '3,x' must be an integer"),
        ("sizes", "[3", "sizes = .* must be a tuple"),
        ("weights", '{"x": -1}', "weights = .* must be"),
    ],
)
def test_a_wrong_list_or_table_is_told(key, text, said):
    with pytest.raises(UserError, match=f"task x: {said}"):
        checked_options(Lists, {key: text}, "task x")


def test_an_option_may_be_left_open():
    assert ESTIMATORS.make(Part("implicit", {"inner_step_size": 0.5})).inner_step_size == 0.5
    with pytest.raises(UserError, match=r"inner_step_size = -1\.0 must be greater than 0"):
        ESTIMATORS.make(Part("implicit", {"inner_step_size": -1.0}))


def test_an_option_without_a_default_is_asked_for(own):
    @own.add
    @dataclasses.dataclass(frozen=True)
    class Demanding(Softmax):
        name = "demanding"

        scale: Annotated[float, Gt(0)] = dataclasses.field(kw_only=True)

    with pytest.raises(UserError, match="the relaxation demanding needs scale"):
        own.make(Part("demanding"))
    assert own.make(Part("demanding", {"scale": 2.0})).scale == 2.0


def test_what_the_program_gives_is_no_option():
    @dataclasses.dataclass(frozen=True)
    class Needs(Softmax):
        name = "needs"
        size: int = dataclasses.field(kw_only=True)

    made = Registry("relaxation", Relaxation, "hwnas_jax.tested", given=("size",))
    made.add(Needs)
    assert made.make(Part("needs", {"learning_rate": 0.1}), size=3).size == 3
    with pytest.raises(UserError, match="unknown option of the relaxation needs 'size'"):
        made.make(Part("needs", {"size": 4}), size=3)


def test_a_name_is_registered_once(own):
    with pytest.raises(ValueError, match="already a relaxation 'softmax'"):
        own.add(Softmax)
    assert list(own) == ["softmax"] and len(own) == 1 and "softmax" in own


def test_a_method_comes_from_a_users_file(write, own):
    name = write(OWN)
    assert not own.is_known(name)
    made = own.make(Part(name, {"power": 3.0}))
    assert (made.name, made.power) == ("sharp", 3.0)
    assert own.is_known(name)
    assert own.find(name) is type(made)
    assert own.summaries()[name] == "softmax of sharpened logits"
    check_relaxation(made, MASK)
    with pytest.raises(UserError, match=r"power = -1\.0 must be greater than 0"):
        own.make(Part(name, {"power": -1.0}))


def test_a_users_file_runs_only_when_it_is_asked_for(write, own, tmp_path):
    name = write(OWN + f"\n    open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    assert not own.is_known(name) and not (tmp_path / "ran").exists()
    own.find(name)
    assert (tmp_path / "ran").exists()


def test_a_method_comes_from_an_installed_module(own):
    assert own.find("hwnas_jax.relax.gaea:Gaea").name == "gaea"
    with pytest.raises(UserError, match=r"no\.such\.module:Method cannot be imported"):
        own.find("no.such.module:Method")


@pytest.mark.parametrize(
    ("text", "attribute", "said"),
    [
        (OWN, "Shrap", "unknown relaxation in .*own_method_file.py 'Shrap'.*Did you mean 'Sharp'"),
        (OWN.replace("def sample", "def smaple"), "Sharp", "Sharp lacks sample"),
        (OWN.replace('name = "sharp"', ""), "Sharp", "Sharp lacks name"),
        (OWN.replace('summary = "', 'text = "'), "Sharp", "Sharp lacks summary"),
        (OWN.replace('"sharp"', '"softmax"'), "Sharp", "'softmax', a name that a built-in"),
        (OWN.replace("Sharp(Relaxation)", "Sharp"), "Sharp",
         r"no relaxation: it must be a subclass of hwnas_jax\.relax\.base\.Relaxation"),
        (OWN, "RELAXATIONS", "RELAXATIONS is no relaxation"),
        ("1 / 0", "Sharp", "cannot be imported: ZeroDivisionError: division by zero"),
        ("import no_such_package", "Sharp", "ModuleNotFoundError: No module named"),
        ("def (", "Sharp", "cannot be imported: SyntaxError"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_users_file_is_said(write, own, text, attribute, said):
    with pytest.raises(UserError, match=said):
        own.find(write(text, attribute))


def test_a_file_that_is_not_there_is_named(tmp_path, own):
    with pytest.raises(UserError, match=r"there is no file .*absent\.py"):
        own.find(f"{tmp_path}/absent.py:Sharp")


def test_a_method_comes_from_another_package(monkeypatch, own):
    class Point:
        name, value = "gaea_of_theirs", "their_package:Gaea"

        @staticmethod
        def load():
            return RELAXATIONS["gaea"]

    asked = []

    def entry_points(group):
        asked.append(group)
        return [Point]

    monkeypatch.setattr(registry.importlib.metadata, "entry_points", entry_points)
    assert own.is_known("gaea_of_theirs")
    assert own.summaries()["gaea_of_theirs"] == "from their_package:Gaea"
    assert own.find("gaea_of_theirs") is RELAXATIONS["gaea"]
    assert set(asked) == {"hwnas_jax.tested"}


def test_a_relaxation_that_fails_says_why():
    class Failing(Softmax):
        def sample(self, key, params, mask, temperature):
            return jnp.zeros(2) @ params.T

    with pytest.raises(UserError, match=r"relaxation softmax fails on \(2, 3\) options: .+"):
        check_relaxation(Failing(), MASK)


def test_a_budget_that_fails_says_why():
    class Failing(FixedWeight):
        def term(self, costs, state):
            return costs["energy_mj"]

    with pytest.raises(UserError, match="budget fixed_weight fails: 'energy_mj'"):
        check_budget(Failing(), {"latency_ms": 1.0}, ("latency_ms",))


def test_an_estimator_that_fails_says_why():
    class Failing(Backprop):
        def estimate(self, key, params, state, problem):
            return problem.validations

    with pytest.raises(UserError, match=r"estimator backprop fails: .*validations"):
        check_estimator(Failing(), jnp.zeros((2, 3)))


def test_files_of_the_same_name_do_not_meet(write, own, tmp_path):
    """Each class keeps the options of its own file."""
    (tmp_path / "other").mkdir()
    one = write(OWN)
    other = write(
        "from __future__ import annotations\n"
        + textwrap.dedent(OWN).replace("power: Annotated[float, Gt(0)]", "power: Whole")
        .replace('"sharp"', '"sharper"').replace("@dataclasses", "Whole = int\n\n@dataclasses"),
        file="other/own_method_file.py",
    )  # fmt: skip
    assert own.make(Part(one, {"power": 1.5})).power == 1.5
    assert own.make(Part(other, {"power": 2})).name == "sharper"
    with pytest.raises(UserError, match=r"power = 1\.5 must be an integer"):
        own.make(Part(other, {"power": 1.5}))
