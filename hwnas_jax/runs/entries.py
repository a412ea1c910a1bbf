"""The entries of `networks.json`: what is known of a derived network before it is trained."""

from collections.abc import Sequence
from typing import Any

from hwnas_jax.runs.confirm import Groups, describe
from hwnas_jax.runs.parts import RunParts


def entries_of(
    run: RunParts,
    origins: Sequence[str],
    groups: Groups,
    search: int,
    confirmations: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Returns the entries of a search's networks, and of those of the controls beside them.

    Args:
      run: whose networks they are.
      origins: "search" and the names of the controls.
      groups: the candidates of each search and origin, in order.
      search: number of the search.
      confirmations: what was measured of candidates.
    """
    member, several = run.members[search], run.wanted.several
    met = {
        (row["origin"], row["string"]): row["meets_budget"]
        for row in confirmations
        if row["search"] == member.label
    }
    each = 1 if several else run.config.retrain.networks
    entries = []
    for origin in origins:
        own = member.label if origin == "search" else f"{member.label}-{origin}"
        for number, candidate in enumerate(groups[member.label, origin][:each]):
            known = describe(run.space, run.cost_model, member.target, candidate)
            entries.append(
                {
                    "origin": origin,
                    "search": member.label,
                    "label": own if several else f"{origin}-{number + 1}",
                    "seed": member.seed,
                    "training_seed": 1000 * member.seed + (0 if several else number + 1),
                    "target": member.target.value,
                    **known,
                    "meets_budget": met.get((origin, known["string"])),
                }
            )
    return entries


def twin_of(entry: dict[str, Any], networks: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the first entry of the same network trained from the same seed.

    Training it again would give the same, so that it is trained under the label of the first.
    """
    same = (entry["string"], entry["seed"], entry["training_seed"])
    return next(e for e in networks if (e["string"], e["seed"], e["training_seed"]) == same)
