"""The stages of a run that deal in networks: derive, retrain, measure."""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from hwnas_jax.budgets.target import Target
from hwnas_jax.config import override
from hwnas_jax.cost.files.observations import unit
from hwnas_jax.errors import UserError, choose
from hwnas_jax.files.json_files import read_json, write_json
from hwnas_jax.parallel import distributed
from hwnas_jax.parallel.progress import Progress, quiet
from hwnas_jax.parallel.replicas import statistics_axis
from hwnas_jax.runs.confirm import confirm, describe
from hwnas_jax.runs.found import Found
from hwnas_jax.runs.network_costs import cost_of
from hwnas_jax.runs.parts import RunParts
from hwnas_jax.runs.proposals import Proposals
from hwnas_jax.runs.retrain import train
from hwnas_jax.search.candidates import Candidate
from hwnas_jax.spaces.core.architecture_files import save_architecture
from hwnas_jax.train.training import Trained


class NetworkStages(RunParts):
    """From what the searches found to trained and measured networks."""

    @functools.cached_property
    def proposals(self) -> Proposals:
        """What the finished searches propose; all of them share its compiled programs."""
        return Proposals(
            self.space, self.dataset, self.cost_model, self.config, Found.load(self.folder)
        )

    def candidates(
        self,
        number: int = 0,
        *,
        by_chance: bool = False,
        target: Target | None = None,
        progress: Progress | None = None,
    ) -> list[Candidate]:
        """Returns the networks within the budget that one search proposes, the best first.

        Args:
          number: of the search.
          by_chance: in random order instead, as random search takes them.
          target: another budget than the search's own.
          progress: reports what is done.
        """
        member = self.members[number]
        target = target or member.target
        if by_chance:
            return self.proposals.by_chance(target, seed=member.seed)
        return self.proposals.of(number, target, member.seed, progress, say=self.display.say)

    def derive(self) -> list[dict[str, Any]]:
        """Picks the networks of every search; a single search gets as many random ones.

        Random search draws from the very same networks, those predicted to meet the budget, and
        the same number of both is measured before any is retrained: what turns out to miss the
        budget is passed over.
        """
        networks: list[dict[str, Any]] = []
        confirmations: list[dict[str, Any]] = []
        with self.stage("derive") as report:
            for target, numbers in self._by_target():
                groups = {
                    self.members[i].label: self.candidates(i, progress=report) for i in numbers
                }
                if not self.wanted.several:
                    groups["random"] = self.candidates(by_chance=True)
                groups, rows = self._confirm(groups, target, report)
                confirmations += rows
                met = {(row["origin"], row["string"]): row["meets_budget"] for row in rows}
                for i in numbers:
                    networks += self._described(groups, i, met)
            if self.wanted.several:
                self._judge_by_supernet(networks, report)
            write_json(
                self.folder / "networks.json",
                {"networks": networks, "confirmations": confirmations},
            )
            self._save_architectures(networks)
        self.display.say(
            f"{networks[0]['string']}, predicted {networks[0]['predicted']:.4g} "
            f"{unit(self.target.metric)}"
        )
        return networks

    def _described(
        self,
        groups: dict[str, list[Candidate]],
        search: int,
        met: dict[tuple[str, str], bool],
    ) -> list[dict[str, Any]]:
        """Returns the entries of a search's networks, and of the random ones beside them."""
        member, within = self.members[search], self.proposals.within.get(search)
        several = self.wanted.several
        origins = {"search": member.label} | ({} if several else {"random": "random"})
        each = 1 if several else self.config.retrain.networks
        entries = []
        for origin, group in origins.items():
            for number, candidate in enumerate(groups[group][:each]):
                known = describe(self.space, self.cost_model, member.target, candidate)
                entries.append(
                    {
                        "origin": origin,
                        "search": member.label,
                        "label": member.label if several else f"{origin}-{number + 1}",
                        "seed": member.seed,
                        "training_seed": 1000 * member.seed + (0 if several else number + 1),
                        "target": member.target.value,
                        **known,
                        "probability_within_budget": within if origin == "search" else None,
                        "meets_budget": met.get((group, known["string"])),
                    }
                )
        return entries

    def _judge_by_supernet(self, networks: list[dict[str, Any]], report: Progress) -> None:
        """Notes how the supernet of each search judges its network, where there is a supernet."""
        if not self.proposals.by_gradient:
            return
        labels = [member.label for member in self.members]
        for number, entry in enumerate(networks, 1):
            architecture = self.space.from_names(entry["architecture"])
            search = labels.index(entry["search"])
            entry["supernet_metric"] = self.proposals.judged(search, architecture, entry["seed"])
            report(number, len(networks), "judged by the supernet")

    def _confirm(
        self, groups: dict[str, list[Candidate]], target: Target, report: Progress
    ) -> tuple[dict[str, list[Candidate]], list[dict[str, Any]]]:
        """Measures the first candidates of each group; `confirm` says what becomes of them."""
        if not self.config.derive.confirm:
            return groups, []
        count = max(self.config.derive.confirm, self.config.retrain.networks)
        groups = {origin: group[:count] for origin, group in groups.items()}
        everything = [candidate.architecture for group in groups.values() for candidate in group]
        measured = self._cost_of(everything, target, report).corrected
        groups, rows = confirm(self.space, groups, measured, target, self.budget)
        met = sum(row["meets_budget"] for row in rows)
        self.display.say(f"{met} of {len(rows)} networks within the budget when measured")
        return groups, rows

    def _cost_of(self, architectures: list[np.ndarray], target: Target, report: Progress) -> Any:
        return cost_of(
            self.space, architectures, target, self.folder, self.config, self.display, report
        )

    def _save_architectures(self, networks: list[dict[str, Any]]) -> None:
        if not distributed.is_first():
            return
        if not self.wanted.several:
            chosen = next(
                (e for e in networks if e["origin"] == "search" and e.get("selected")), networks[0]
            )
            paths = {self.folder / "architecture.json": chosen}
        else:
            folder = self.folder / "architectures"
            folder.mkdir(exist_ok=True)
            paths = {folder / f"{entry['label']}.json": entry for entry in networks}
        for path, entry in paths.items():
            save_architecture(path, self.space, self.space.from_names(entry["architecture"]))

    def retrain(self) -> list[dict[str, Any]]:
        """Trains the networks from scratch and tests them.

        Of each search and origin, the best on the validation data among those that met the budget
        when measured is marked selected.
        """
        payload = self._networks()
        networks = payload["networks"]
        distributed.exchange(None)  # process 0 writes the file, so all have read it
        done: dict[tuple[str, int], dict[str, Any]] = {}
        with self.stage("retrain") as report:
            for entry in networks:
                # The same network trained from the same seed again would be the same.
                twin = done.setdefault((entry["string"], entry["training_seed"]), entry)
                if entry.get("test_metric") is None:
                    if twin is entry:
                        trained = self._train(entry, report)
                        entry["validation_metric"] = trained.validation_metric
                        entry["test_metric"] = trained.test_metric
                    for key in ("validation_metric", "test_metric"):
                        entry[key] = twin[key]
                    self.write("networks.json", payload)
            self._select(networks)
            self.write("networks.json", payload)
            self._save_architectures(networks)
        for entry in networks:
            if entry["selected"] and entry["origin"] == "search":
                self.display.say(
                    f"{entry['label']}: test {self.task.metric.replace('_', ' ')} "
                    f"{self.task.show(entry['test_metric'])}"
                )
        return networks

    def _select(self, networks: list[dict[str, Any]]) -> None:
        sign = 1 if self.task.higher_is_better else -1
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for entry in networks:
            groups.setdefault((entry["search"], entry["origin"]), []).append(entry)
        for group in groups.values():
            meeting = [entry for entry in group if entry["meets_budget"]] or group
            best = max(meeting, key=lambda entry: sign * entry["validation_metric"])
            for entry in group:
                entry["selected"] = entry is best

    def trained(self, label: str | None = None) -> Trained:
        """Returns a retrained network by its label; the selected one when none is named."""
        return self._train(self.network(label), None)

    def network(self, label: str | None = None) -> dict[str, Any]:
        """Returns what `networks.json` has about a network; about the selected one by default."""
        networks = self._networks()["networks"]
        if label is None:
            label = next((e["label"] for e in networks if e.get("selected")), networks[0]["label"])
        choose(label, [e["label"] for e in networks], "network")
        return next(e for e in networks if e["label"] == label)

    def _train(self, entry: dict[str, Any], report: Progress | None) -> Trained:
        build = functools.partial(
            self.space.network,
            self.space.from_names(entry["architecture"]),
            axis_name=statistics_axis(self.config.parallel),
        )
        return train(
            build, self.dataset, override(self.config, seed=entry["seed"]),
            label=entry["label"], seed=entry["training_seed"], folder=self.folder,
            progress=report or quiet,
        )  # fmt: skip

    def measure(self) -> list[dict[str, Any]]:
        """Measures the networks on this device, those of a target together.

        `measured` is at the speed that the device had when it was profiled, `measured_now` is as
        the clock said.
        """
        payload = self._networks()
        networks = payload["networks"]
        with self.stage("measure") as report:
            for target, numbers in self._by_target():
                labels = {self.members[i].label for i in numbers}
                entries = [entry for entry in networks if entry["search"] in labels]
                measured = self._cost_of(
                    [self.space.from_names(e["architecture"]) for e in entries], target, report
                )
                for entry, corrected, as_timed in zip(
                    entries, measured.corrected, measured.as_timed, strict=True
                ):
                    entry["measured"] = corrected.median
                    entry["measured_iqr"] = corrected.iqr
                    entry["measured_now"] = as_timed.median
                    entry["drift"] = measured.drift
            write_json(self.folder / "networks.json", payload)
        return networks

    def _by_target(self) -> Iterator[tuple[Target, list[int]]]:
        """Yields every target with the numbers of its searches."""
        for target in dict.fromkeys(member.target for member in self.members):
            yield target, [i for i, m in enumerate(self.members) if m.target == target]

    def _networks(self) -> dict[str, Any]:
        path = self.folder / "networks.json"
        payload = read_json(path, "file")
        networks = payload.get("networks") if isinstance(payload, dict) else None
        searches = {m.label for m in self.members}
        named = {e.get("search") for e in networks or () if isinstance(e, dict)}
        if not isinstance(networks, list) or named != searches:
            raise UserError(
                f"{path} is damaged: it must list networks of {', '.join(sorted(searches))}"
            )
        return payload
