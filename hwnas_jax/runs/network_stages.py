"""The stages of a run that deal in networks: derive, retrain, measure."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from hwnas_jax.budgets.target import Target
from hwnas_jax.config import override
from hwnas_jax.cost import AnalyticModel, Measured
from hwnas_jax.cost.files.observations import unit
from hwnas_jax.errors import UserError, choose
from hwnas_jax.files.whole import inner_folder
from hwnas_jax.parallel import distributed
from hwnas_jax.parallel.progress import Progress, quiet
from hwnas_jax.parallel.replicas import Replicas, statistics_axis
from hwnas_jax.report.outcome import decided_in_words
from hwnas_jax.report.run_files import check_networks, write_run_file
from hwnas_jax.runs.confirm import Groups, confirm
from hwnas_jax.runs.controls import controls_of
from hwnas_jax.runs.elsewhere import TEMPLATE, Elsewhere, write_template
from hwnas_jax.runs.entries import entries_of, twin_of
from hwnas_jax.runs.found import Found
from hwnas_jax.runs.network_costs import cost_of
from hwnas_jax.runs.proposals import Proposals
from hwnas_jax.runs.recycling import Recycling
from hwnas_jax.runs.retrain import train
from hwnas_jax.runs.shares import keep_shares
from hwnas_jax.search.candidates import Candidate
from hwnas_jax.search.decided import Decided
from hwnas_jax.spaces.core.architecture_files import save_architecture
from hwnas_jax.train.examples import keep_examples
from hwnas_jax.train.tested import keep_tested, load_tested
from hwnas_jax.train.training import Trained


class NetworkStages(Recycling):
    """From what the searches found to trained and measured networks."""

    @functools.cached_property
    def proposals(self) -> Proposals:
        """What the finished searches propose; all of them share its compiled programs."""
        given = self.for_search
        found = Found.load(self.folder, given.space, len(self.members))
        return Proposals(given.space, given.dataset, self.cost_model, given.config, found)

    def candidates(
        self,
        number: int = 0,
        *,
        control: str | None = None,
        target: Target | None = None,
        progress: Progress | None = None,
    ) -> list[Candidate]:
        """Returns the networks within the budget that one search proposes, the best first.

        Args:
          number: of the search.
          control: the name of a control, whose networks are returned instead.
          target: another budget than the search's own.
          progress: reports what is done.

        Raises:
          UserError: for an unknown control, or when nothing meets the budget.
        """
        member = self.members[number]
        target = target or member.target
        if control is not None:
            return self.proposals.control(control, number, target, member.seed, progress)
        return self.proposals.of(number, target, member.seed, progress, label=member.label)

    @functools.cached_property
    def unmeasured(self) -> Elsewhere | None:
        """The device that the networks cost something on, where that must be measured elsewhere.

        None for a run of this machine, and for a metric that is counted.
        """
        if self.target.metric in AnalyticModel.counted_metrics(self.space):
            return None
        return Elsewhere.load(self.folder)

    @property
    def metrics_to_measure(self) -> tuple[str, ...]:
        """The metrics with a limit that are not counted; that of the budget comes first."""
        counted = AnalyticModel.counted_metrics(self.space)
        return tuple(metric for metric in self.target.limits if metric not in counted)

    @property
    def origins(self) -> tuple[str, ...]:
        """Where the run's networks come from: the search first, then the controls."""
        return ("search", *controls_of(self.config, several=self.wanted.several))

    def derive(self) -> list[dict[str, Any]]:
        """Picks the networks of every search, and as many of each control beside it.

        All choose from the very same networks, those predicted to meet the budget, and of each the
        same number is measured before any is retrained: what turns out to miss the budget is
        passed over.
        """
        networks: list[dict[str, Any]] = []
        confirmations: list[dict[str, Any]] = []
        with self.stage("derive") as report:
            for target, numbers in self._by_target():
                groups = {
                    (self.members[i].label, origin): self.candidates(
                        i, control=None if origin == "search" else origin, progress=report
                    )
                    for i in numbers
                    for origin in self.origins
                }
                groups, rows = self._confirm(groups, target, report)
                confirmations += rows
                for i in numbers:
                    networks += entries_of(self, self.origins, groups, i, rows)
            if self.wanted.several:
                self._judge_by_supernet(networks, report)
            payload = {
                "networks": networks,
                "confirmations": confirmations,
                "decided": [decided.to_dict() for decided in self._decided(networks)],
            }
            write_run_file(self.folder, "networks", payload)
            self._save_architectures(networks)
            if self.unmeasured:
                write_template(
                    self.folder, self.space, self.unmeasured, self.metrics_to_measure, networks
                )
        for decided in self._decided(networks):
            self.display.say(decided_in_words(decided))
        self.display.say(f"{networks[0]['string']}, predicted {self._predicted(networks[0])}")
        if self.unmeasured:
            self.display.say(
                f"not measured here: the networks are in {self.folder / TEMPLATE}, for "
                f"{self.unmeasured}"
            )
        return networks

    def _predicted(self, entry: dict[str, Any]) -> str:
        """Returns what a network is predicted to cost, with the deviation and the device."""
        name = unit(self.target.metric)
        deviation = f" ± {entry['predicted_std']:.2g}" if entry.get("predicted_std") else ""
        where = f" on {self.unmeasured.device}" if self.unmeasured else ""
        return f"{entry['predicted']:.4g}{deviation} {name}{where}"

    def _decided(self, networks: list[dict[str, Any]]) -> list[Decided]:
        """Returns how decided each gradient search was, with the network derived first."""
        found = []
        for number, decided in self.proposals.decided.items():
            label = self.members[number].label
            first = next(e for e in networks if (e["search"], e["origin"]) == (label, "search"))
            found.append(dataclasses.replace(decided, derived=first["probability"]))
        return found

    def _judge_by_supernet(self, networks: list[dict[str, Any]], report: Progress) -> None:
        """Notes how the supernet of each search judges its network, where there is a supernet."""
        if not self.proposals.by_gradient:
            return
        labels = [member.label for member in self.members]
        searched = [entry for entry in networks if entry["origin"] == "search"]
        for number, entry in enumerate(searched, 1):
            architecture = self.space.from_names(entry["architecture"])
            search = labels.index(entry["search"])
            entry["supernet_metric"] = self.proposals.judged(search, architecture, entry["seed"])
            report(number, len(searched), "judged by the supernet")

    def _confirm(
        self, groups: Groups, target: Target, report: Progress
    ) -> tuple[Groups, list[dict[str, Any]]]:
        """Measures the first candidates of each group; `confirm` says what becomes of them.

        A network that several groups propose is measured once. Where the device is not here the
        candidates stay in their order.
        """
        if not self.config.derive.confirm or self.unmeasured:
            return groups, []
        count = max(self.config.derive.confirm, self.config.retrain.networks)
        groups = {whose: group[:count] for whose, group in groups.items()}
        different = {
            self.space.to_string(candidate.architecture): candidate.architecture
            for group in groups.values()
            for candidate in group
        }
        measured = self._cost_of(list(different.values()), target, report).corrected
        by_string = dict(zip(different, measured, strict=True))
        groups, rows = confirm(self.space, groups, by_string, target, self.budget)
        met = {row["string"] for row in rows if row["meets_budget"]}
        self.display.say(f"{len(met)} of {len(different)} networks within the budget when measured")
        return groups, rows

    def _cost_of(
        self, architectures: list[np.ndarray], target: Target, report: Progress
    ) -> Measured:
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
            folder = inner_folder(self.folder, "architectures")
            searched = [entry for entry in networks if entry["origin"] == "search"]
            paths = {folder / f"{entry['label']}.json": entry for entry in searched}
        for path, entry in paths.items():
            save_architecture(path, self.space, self.space.from_names(entry["architecture"]))

    def retrain(self) -> list[dict[str, Any]]:
        """Trains the networks from scratch and tests them.

        Of each search and origin, the best on the validation data among those that met the budget
        when measured is marked selected.
        """
        payload = self.networks
        networks = payload["networks"]
        distributed.exchange(None)  # process 0 writes the file, so all have read it
        with self.stage("retrain") as report:
            for entry in networks:
                twin = twin_of(entry, networks)
                if entry.get("test_metric") is None:
                    if twin is entry:
                        trained = self._train(entry, report)
                        entry["validation_metric"] = trained.validation_metric
                        entry["test_metric"] = trained.test_metric
                        entry["test_metrics"] = trained.test_metrics
                        right = trained.test_right
                        self._keep_examples(entry, trained)
                    else:
                        right = load_tested(self.folder).get(twin["label"])
                    if distributed.is_first():
                        keep_tested(self.folder, entry["label"], right)
                    for key in ("validation_metric", "test_metric", "test_metrics"):
                        entry[key] = twin.get(key)
                    self.write("networks", payload)
            self._select(networks)
            self.write("networks", payload)
            self._save_architectures(networks)
        for entry in networks:
            if entry["selected"] and entry["origin"] == "search":
                self.display.say(
                    f"{entry['label']}: test {self.task.metric.replace('_', ' ')} "
                    f"{self.task.show(entry['test_metric'])}"
                )
        return networks

    def _keep_examples(self, entry: dict[str, Any], trained: Trained) -> None:
        """Keeps test examples of a network that the page of one search may show."""
        if entry["origin"] == "search" and not self.wanted.several and distributed.is_first():
            keep_examples(self.folder, entry["label"], *trained.examples)

    def _select(self, networks: list[dict[str, Any]]) -> None:
        sign = 1 if self.task.higher_is_better else -1
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for entry in networks:
            groups.setdefault((entry["search"], entry["origin"]), []).append(entry)
        for group in groups.values():
            meeting = [entry for entry in group if entry.get("meets_budget")] or group
            best = max(meeting, key=lambda entry: sign * entry["validation_metric"])
            for entry in group:
                entry["selected"] = entry is best

    def trained(self, label: str | None = None) -> Trained:
        """Returns a retrained network by its label; the selected one when none is named."""
        entry = self.network(label)
        with self.writing():
            return self._train(twin_of(entry, self.networks["networks"]), None)

    def network(self, label: str | None = None) -> dict[str, Any]:
        """Returns what `networks.json` has about a network; about the selected one by default."""
        networks = self.networks["networks"]
        if label is None:
            label = next((e["label"] for e in networks if e.get("selected")), networks[0]["label"])
        choose(label, [e["label"] for e in networks], "network")
        return next(e for e in networks if e["label"] == label)

    def _train(self, entry: dict[str, Any], report: Progress | None) -> Trained:
        devices = Replicas.from_config(self.config.parallel).count
        config, note = keep_shares(
            self.folder, entry["label"], self.config, devices, part="retrain"
        )
        if note:
            self.display.say(note)
        architecture = self.space.from_names(entry["architecture"])
        build = functools.partial(
            self.space.network,
            architecture,
            axis_name=statistics_axis(config.parallel),
        )
        return train(
            build, self.dataset, override(config, seed=entry["seed"]),
            label=entry["label"], seed=entry["training_seed"], folder=self.folder,
            progress=report or quiet,
            **self.recycled(entry["label"], architecture, entry["training_seed"]),
        )  # fmt: skip

    def measure(self) -> list[dict[str, Any]]:
        """Measures the networks on this device, those of a target together and each once.

        `measured` is at the speed that the device had when it was profiled, `measured_now` is as
        the clock said. Where the device is not here, nothing is measured: `handed_back` takes
        what a person has measured there.
        """
        payload = self.networks
        networks = payload["networks"]
        if self.unmeasured:
            with self.stage("measure") as report:
                report(1, 1, f"not here: {self.unmeasured.device}")
            if any(entry.get("measured") is None for entry in networks):
                listed = self.folder / TEMPLATE
                self.display.say(
                    f"not measured here: measure the networks of {listed} on {self.unmeasured}, "
                    f"fill its empty column ({', '.join(self.metrics_to_measure)}), and hand the "
                    "file back with: "
                    f"hwnas measure {self.folder} --from {listed}"
                )
            return networks
        with self.stage("measure") as report:
            for target, numbers in self._by_target():
                labels = {self.members[i].label for i in numbers}
                entries = [entry for entry in networks if entry["search"] in labels]
                different = {
                    entry["string"]: self.space.from_names(entry["architecture"])
                    for entry in entries
                }
                measured = self._cost_of(list(different.values()), target, report)
                rows = {string: row for row, string in enumerate(different)}
                for entry in entries:
                    corrected = measured.corrected[rows[entry["string"]]]
                    entry["measured"] = corrected.median
                    entry["measured_iqr"] = corrected.iqr
                    entry["measured_now"] = measured.as_timed[rows[entry["string"]]].median
                    entry["drift"] = measured.drift
            write_run_file(self.folder, "networks", payload)
        return networks

    def choose_again(self, payload: dict[str, Any]) -> None:
        """Chooses among the networks again, where they are trained, and writes `networks.json`.

        Args:
          payload: its content, with what was measured since.
        """
        networks = payload["networks"]
        if all(entry.get("validation_metric") is not None for entry in networks):
            self._select(networks)
        write_run_file(self.folder, "networks", payload)
        self._save_architectures(networks)

    def _by_target(self) -> Iterator[tuple[Target, list[int]]]:
        """Yields every target with the numbers of its searches."""
        for target in dict.fromkeys(member.target for member in self.members):
            yield target, [i for i, m in enumerate(self.members) if m.target == target]

    @property
    def networks(self) -> dict[str, Any]:
        """The content of `networks.json`; UserError when it is absent or damaged."""
        payload = self.read("networks")
        path, networks = self.folder / "networks.json", payload["networks"]
        check_networks(payload, self.read("targets"), path)
        try:
            searches, named = {m.label for m in self.members}, {e["search"] for e in networks}
            if named != searches:
                raise UserError(
                    f"it must list networks of {', '.join(sorted(searches))}, and lists some of "
                    f"{', '.join(sorted(named))}"
                )
            for entry in networks:
                string = self.space.to_string(self.space.from_names(entry["architecture"]))
                if string != entry["string"]:
                    raise UserError(f"{entry['label']}: its architecture is {string}, not string")
        except UserError as error:
            raise UserError(f"the run file {path}: {error}") from error
        return payload
