"""Search spaces: what can be built.

A space is one class in one file, registered by `@SPACES.add`. Packages name theirs in the entry
point group `hwnas_jax.spaces`. A space of one's own is named by its Python path,
`my_space.py:MySpace` or `my_package.my_module:MySpace`.
"""

from hwnas_jax.spaces.autoformer import AutoFormer
from hwnas_jax.spaces.base import SPACES, Choices, Decision, Operation, Place, Space, Step
from hwnas_jax.spaces.bnas import BNAS
from hwnas_jax.spaces.build import from_spec, make_space
from hwnas_jax.spaces.channels import Channels
from hwnas_jax.spaces.codesign import Codesign
from hwnas_jax.spaces.complete_graph import CompleteGraph
from hwnas_jax.spaces.core.terms import Terms, sum_places, sum_terms
from hwnas_jax.spaces.core.written import as_architecture
from hwnas_jax.spaces.darts import Darts
from hwnas_jax.spaces.dash import Dash
from hwnas_jax.spaces.dna import DNA
from hwnas_jax.spaces.edmips import EdMIPS
from hwnas_jax.spaces.fbnet import FBNet
from hwnas_jax.spaces.mnasnet import MnasNet
from hwnas_jax.spaces.nasbench201 import NasBench201
from hwnas_jax.spaces.nasbench_macro import NasBenchMacro
from hwnas_jax.spaces.ofa import OFA
from hwnas_jax.spaces.proxylessnas import ProxylessNAS
from hwnas_jax.spaces.single_path import SinglePath
from hwnas_jax.spaces.transnas_cell import TransNASCell
from hwnas_jax.spaces.transnas_macro import TransNASMacro

__all__ = [
    "BNAS", "DNA", "OFA", "SPACES", "AutoFormer", "Channels", "Choices", "Codesign",
    "CompleteGraph", "Darts", "Dash", "Decision", "EdMIPS", "FBNet", "MnasNet", "NasBench201",
    "NasBenchMacro", "Operation", "Place", "ProxylessNAS", "SinglePath", "Space", "Step", "Terms",
    "TransNASCell", "TransNASMacro", "as_architecture", "from_spec", "make_space", "sum_places",
    "sum_terms",
]  # fmt: skip
