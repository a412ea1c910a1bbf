"""The systems that this package builds again: their papers, how to run them, what came out here.

`hwnas list systems` prints the list.
"""

from typing import NamedTuple


class System(NamedTuple):
    """A published system, or a survey of many.

    Attributes:
      name: as its authors call it.
      paper: its authors and year.
      command: runs it here.
      figure: what was obtained here; the number in brackets is a section of benchmarks/RESULTS.md.
    """

    name: str
    paper: str
    command: str
    figure: str


SYSTEMS = (
    System(
        "survey of hardware-aware NAS", "Benmeziane et al., 2021", "hwnas search",
        "91st percentile of the cells that use up a latency limit, random cells 21st (7.1)",
    ),
    System(
        "survey of NAS: recycling", "Ren et al., 2021",
        "hwnas search --search.start-from RUN --search.start-with network", "not yet measured",
    ),
    System(
        "survey of surrogates", "Liu et al., 2022", "hwnas search --search.strategy surrogate",
        "the best of 15,625 cells on CIFAR-100 in 100 queries (7.7)",
    ),
    System(
        "NAS-Bench-201", "Dong and Yang, 2020", "hwnas compare nb201_accuracy",
        "evolution 72.0 % on CIFAR-100 in 100 queries, random 71.4 % (7.7)",
    ),
    System(
        "DNA, DNA+, DNA++", "Li et al., 2020",
        "hwnas search dna --search.strategy blockwise teacher RUN", "not yet measured",
    ),
    System(
        "UnrealNAS", "Dong et al., 2022", "hwnas sources",
        "random labels cost 0.6 ± 2.6 points, noise 1.5 ± 3.5 (7.10)",
    ),
    System(
        "MetaNAS, T-NAS", "Elsken et al., Lian et al., 2020", "hwnas fewshot",
        "not yet measured",
    ),
    System(
        "NAS-Bench-360", "Tu et al., 2022", "hwnas search darcy", "not yet measured",
    ),
    System(
        "DASH", "Shen et al., 2022", "hwnas search dash",
        "a step with twelve kernels takes 1.03 times as long as with one (4.4)",
    ),
    System(
        "TransNAS-Bench-101", "Duan et al., 2021", "hwnas search transnas_cell",
        "a start from another task helps in 33 of 42 pairs (7.8)",
    ),
    System(
        "AdvantageNAS", "Sato et al., 2021", "hwnas search --search.relaxation advantage",
        "its gradient has the signal of GDAS', .11; neither points to good cells (7.4)",
    ),
    System(
        "Revisiting NAS", "Bi et al., 2020", "hwnas search complete_graph",
        "its costs are learned with a rank correlation of 0.89 (3.5)",
    ),
    System(
        "BNAS", "Chen et al., 2020", "hwnas search bnas --search.strategy elimination",
        "92.8 % in 17 KiB on digits, at full precision 98.1 % in 381 KiB (4.3)",
    ),
    System(
        "DARTS, GDAS, DrNAS and others", "Liu et al., 2019", "hwnas search darts",
        "a step takes 0.34 to 0.83 of PyTorch's time (5.1)",
    ),
    System(
        "FBNet, ProxylessNAS, MnasNet and others", "Wu et al., 2019", "hwnas search fbnet",
        "costs of its space are learned with a rank correlation of 0.94 (3.5)",
    ),
    System(
        "LightNAS, TuNAS", "Luo et al., 2022", "hwnas search --budget dual_ascent",
        "on digits three of three limits kept when measured (2)",
    ),
    System(
        "Once-for-All, AutoFormer", "Cai et al., 2020",
        "hwnas search ofa --search.elastic.networks 4", "not yet measured",
    ),
    System(
        "HELP", "Lee et al., 2021", "hwnas cost transfer",
        "rank correlation .954 with 10 samples, published .932 (3.3)",
    ),
    System(
        "One-proxy", "Lu et al., 2021", "hwnas transfer RUN --samples 10",
        "adapted fronts of NAS-Bench-201 keep 99.0 % of the area, reused ones 96.8 % (3.3)",
    ),
    System(
        "EdMIPS, DNAS", "Cai and Vasconcelos, 2020", "hwnas search edmips",
        "1.3 points above two bits everywhere on digits (4.2)",
    ),
    System(
        "DANCE", "Choi et al., 2021", "hwnas search codesign",
        "3 % above the best energy-delay product, one after the other 5 to 15 % (4.1)",
    ),
)  # fmt: skip
"""Every system that this package is made from."""
