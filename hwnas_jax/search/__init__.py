"""How an architecture is found."""

from hwnas_jax.search.bilevel import Batch, Search, SearchInfo, SearchState, make_search
from hwnas_jax.search.candidates import (
    Candidate,
    CostRange,
    cost_range,
    resolve_target,
    within_budget,
)
from hwnas_jax.search.objective import Target, expected_cost
from hwnas_jax.search.population import (
    Member,
    Population,
    PopulationState,
    make_members,
    make_population,
    search_population,
)
from hwnas_jax.search.refine import Refinement, most_informative
from hwnas_jax.search.stage import SearchResult, search_architecture

__all__ = [
    "Batch", "Candidate", "CostRange", "Member", "Population", "PopulationState", "Refinement",
    "Search", "SearchInfo", "SearchResult", "SearchState", "Target", "cost_range", "expected_cost",
    "make_members", "make_population", "make_search", "most_informative", "resolve_target",
    "search_architecture", "search_population", "within_budget",
]  # fmt: skip
