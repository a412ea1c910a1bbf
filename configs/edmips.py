"""EdMIPS on digits: bits of weights and activations of every convolution, under bit operations.

    hwnas search edmips

The budget is counted, not timed: `target.metric` may be `bit_operations` or `size_kib`, and
`target.value` is then in that unit. `--space.args.weights 0,2,4,8,32` lets blocks be skipped, as in
DNAS. All networks have the same number of multiply-accumulates, so the probabilities of the search
choose among them, and the whole budget is to be spent.
"""

from hwnas_jax.config import Config, DeriveConfig, Part, SpaceConfig, override

config = override(
    Config(
        name="edmips",
        space=SpaceConfig(
            name="edmips",
            args={"channels": 8, "blocks": 1, "weights": "1,2,3,4", "activations": "2,3,4"},
        ),
        budget=Part("dual_ascent"),
        derive=DeriveConfig(rule=Part("most_probable")),
    ),
    search__relaxation=Part("gumbel_softmax"),
    cost__model=Part("analytic"),
    target__metric="bit_operations",
)
