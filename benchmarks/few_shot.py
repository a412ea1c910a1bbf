"""What adapting weights and architecture to few examples is worth, and what an outer step takes.

    HWNAS_DATA=FOLDER python benchmarks/few_shot.py [digits fashion_mnist cifar10]
        [--learners metanas tnas] [--steps 1000] [--episodes 600] [--out bench-few-shot]

Five-way tasks of 8x8 digits, Fashion-MNIST at 14x14 and CIFAR-10 at 16x16 pixels, cells of
NAS-Bench-201 with 8 channels. Five classes are learned from and the other five tested on. A start
is learned once for each data set with ten examples of a class (for the digits by every learner that
is named, for the others by the first), and judged with five examples and with one. For the digits
every 5-shot task of the first learner is also adapted to three budgets of this device, percentiles
10, 25 and 50 of the latency that a cost model predicts, fitted to networks that are timed first.
FOLDER holds `fashion_mnist/` and `cifar10_jpeg.npz`. The runs lie in the folder of results, and are
continued where they were stopped. All figures are printed at the end.

Then the time of an outer step is taken for the digits: all tasks of a step at once (`vmap`), one
after another in one program, and a loop over the tasks, each a call of a compiled program. The
three take turns, and the median of the ratios is printed.
"""

import argparse
import os
import shutil
import statistics
import time
from pathlib import Path

import jax
import numpy as np
import optax
from cifar10_images import Cifar10Images

from hwnas_jax.compile.ahead import compile_ahead
from hwnas_jax.config import Config, DataConfig, override
from hwnas_jax.data import Dataset, load_data
from hwnas_jax.data.episodes import draw_episode
from hwnas_jax.display import Terminal
from hwnas_jax.parallel.replicas import AXIS
from hwnas_jax.registry import Part
from hwnas_jax.report.few_shot_files import FewShotFile
from hwnas_jax.report.few_shot_page import cost_rows, rows_of, verdict
from hwnas_jax.runs.few_shot import FewShotRun
from hwnas_jax.runs.few_shot.learning import begin, make_dispatch, meta_training
from hwnas_jax.runs.few_shot.run import START
from hwnas_jax.search.meta.base import Learned

SHOTS = (5, 1)
SHARE_OF_STEPS = {"digits": 1.0, "fashion_mnist": 0.6, "cifar10": 0.6}
"""Larger images take longer, and so have fewer steps."""


def halved(images):
    """Returns images `uint8[N, H, W, C]` at half their height and width, by means over squares."""
    count, height, width, channels = images.shape
    squares = images.reshape(count, height // 2, 2, width // 2, 2, channels)
    return np.round(squares.astype(np.float32).mean((2, 4))).astype(np.uint8)


def data_of(name: str, folder: Path) -> Dataset:
    """Returns one of the data sets; of the large ones 1,000 images of each class."""
    if name == "digits":
        return load_data(DataConfig(name="digits"))
    if name == "fashion_mnist":
        found = load_data(DataConfig(name="idx", path=str(folder / "fashion_mnist")))
        inputs, targets = halved(found.test_inputs), found.test_targets
    else:
        found = Cifar10Images(str(folder / "cifar10_jpeg.npz")).load()
        inputs, targets = found.test_inputs, found.test_targets
    half = len(targets) // 2
    return Dataset(
        name, inputs[:half], targets[:half], inputs[half:], targets[half:], found.output_names
    )


def config_of(name: str, learner: str, options: argparse.Namespace) -> Config:
    """Returns the experiment; the learning is the same for every number of shots."""
    steps = max(10, round(options.steps * SHARE_OF_STEPS[name]) // 10 * 10)
    return override(
        Config(), name=name, seed=options.seed, parallel__devices=1,
        few_shot__learner=Part(learner), few_shot__train_shots=10, few_shot__steps=steps,
        few_shot__warmup_steps=steps // 2, few_shot__episodes=options.episodes,
    )  # fmt: skip


def run_of(folder: Path, config: Config, data: Dataset) -> FewShotRun:
    """Returns a run, new or as it was stopped."""
    if folder.exists():
        return FewShotRun.open(folder, display=Terminal())
    return FewShotRun.create(config, folder, data=data, display=Terminal())


def judge_all(options: argparse.Namespace) -> list[Path]:
    """Learns and judges all starts; returns the folders of the runs."""
    folder, folders = Path(os.environ["HWNAS_DATA"]), []
    for name in options.data:
        data = data_of(name, folder)
        for learner in options.learners if name == "digits" else options.learners[:1]:
            first = None
            for shots in SHOTS:
                config = override(config_of(name, learner, options), few_shot__shots=shots)
                budgets = (name, shots, learner) == ("digits", 5, options.learners[0])
                if budgets:
                    config = override(config, few_shot__percentiles=(10.0, 25.0, 50.0))
                where = options.out / f"{name}-{learner}-{shots}shot"
                run = run_of(where, config, data)
                if first is not None and not run.finished("learn"):
                    shutil.copyfile(first / START, where / START)
                    run.finish("learn", 0.0)
                run.all()
                first, folders = first or where, [*folders, where]
    return folders


def show(folders: list[Path]) -> None:
    """Prints the tables of all runs."""
    display = Terminal()
    for folder in folders:
        found = FewShotFile.load(folder)
        head, rows = rows_of(found)
        display.table(f"{folder.name}: {found.metric} over {found.episodes} tasks", head, rows)
        head, rows = cost_rows(found)
        if rows:
            display.table(f"{folder.name}: budgets", head, rows)
        display.say(verdict(found))


def time_steps(options: argparse.Namespace) -> None:
    """Prints what an outer step takes, with its tasks at once, in turn, and in a loop."""
    data = load_data(DataConfig(name="digits"))
    for learner in options.learners:
        for tasks in (4, 16) if learner == options.learners[0] else (4,):
            config = override(config_of("digits", learner, options), few_shot__tasks=tasks)
            steps = {
                within: step_of(data, override(config, few_shot__within=within))
                for within in ("batch", "map")
            }
            steps["loop"] = loop_of(data, config)
            seconds: dict[str, list[float]] = {name: [] for name in steps}
            for _ in range(options.rounds):
                for name, step in steps.items():
                    started = time.perf_counter()
                    step()
                    seconds[name].append(time.perf_counter() - started)
            medians = {name: 1000 * statistics.median(every) for name, every in seconds.items()}
            shown = ", ".join(f"{name} {median:.1f} ms" for name, median in medians.items())
            ratios = ", ".join(
                f"{name} / loop "
                f"{statistics.median(np.divide(seconds[name], seconds['loop']).tolist()):.2f}"
                for name in ("batch", "map")
            )
            print(f"{learner}, {tasks} tasks: {shown}; {ratios}", flush=True)


def parts_of(data, config):
    """Returns the parts of a run that is never written."""
    run = FewShotRun(Path("unwritten"), config, Terminal())
    run.__dict__["dataset"] = data
    return run


def step_of(data, config):
    """Returns a function that takes an outer step in one compiled call."""
    parts = parts_of(data, config)
    training, place = meta_training(parts), parts.replicas
    held = [place.place(training.init(jax.random.key(0), begin(parts)))]
    pool = place.share({"pool": parts.train_pool})
    program = compile_ahead(
        place.compile(make_dispatch(training, 1)), held[0], pool, "step", "fewer tasks"
    )

    def step():
        held[0], info = program.call(held[0], pool)
        jax.block_until_ready((held[0], info))

    step()
    return step


def loop_of(data, config):
    """Returns a function that takes an outer step with a call for each of its tasks."""
    parts = parts_of(data, config)
    learner, objectives, place = parts.learner, parts.objectives, parts.replicas
    optimizer, count = learner.outer(config.few_shot.steps), config.few_shot.tasks
    state = begin(parts)
    outer = optimizer.init(state)
    pool = parts.train_pool

    def pull(learned, given):
        task_key, pull_key = jax.random.split(given["key"])
        episode = draw_episode(task_key, given["pool"], parts.train_shape)
        task = objectives.mixed(episode, given["temperature"], given["progress"])
        found = learner.pull(pull_key, learned, task, given["freedom"])
        return learned, jax.lax.pmean(found, AXIS)

    one = np.float32(1.0)
    more = {"pool": pool, "temperature": one, "progress": one, "freedom": one}
    shared = place.share({**more, "key": jax.random.key(0)})
    held = [place.place(state)]
    program = compile_ahead(place.compile(pull), held[0], shared, "task", "fewer tasks")

    @jax.jit
    def follow(pulls, outer, learned: Learned):
        mean = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *pulls)
        updates, outer = optimizer.update(mean.gradient, outer, learned)
        return optax.apply_updates(learned, updates), outer, mean.query_loss

    kept = [state, outer]

    def step():
        pulls, now = [], place.place(kept[0])
        for number in range(count):
            given = {**shared, "key": place.share(jax.random.key(number))}
            now, found = program.call(now, given)
            pulls.append(place.read(found))
        kept[0], kept[1], loss = follow(pulls, kept[1], kept[0])
        jax.block_until_ready((kept[0], loss))

    step()
    return step


def main():
    """Judges, shows, and times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = list(SHARE_OF_STEPS)
    parser.add_argument(
        "data", nargs="*", default=known, help=f"of {', '.join(known)}; all if left out"
    )
    parser.add_argument("--learners", nargs="+", default=["metanas", "tnas"])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--episodes", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("bench-few-shot"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    show(judge_all(options))
    time_steps(options)


if __name__ == "__main__":
    main()
