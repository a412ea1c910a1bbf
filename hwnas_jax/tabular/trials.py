"""NAS-Bench-201 and NATS-Bench as their authors publish them: every training of every network.

What is read:

    NAS-Bench-201-v1_1-096897.pth         one file of torch.save
    NATS-tss-v1_0-3ffb9.pickle.pbz2       one pickle, compressed by bzip2; sss is the size space
    NATS-tss-v1_0-3ffb9-simple/           the same in pieces, meta.pickle.pbz2, 000000.pickle.pbz2

A single file is a table

    meta_archs      a text for each architecture: "|op~0|+..." of a cell, or "8:16:..." of widths
    arch2infos      by number of architecture and by training ("less", "full", "12", "200", ...),
                    all results of that training

A folder has `meta_archs` in its first file and the results of one architecture in each other file.
Such results hold, for each data set that was trained on, the seeds in `dataset_seed`, and in
`all_results` by `(data set, seed)`

    epochs          how long the training was
    eval_acc1es     percent by "x-valid@11": the images, and the epoch counted from zero
    train_times     seconds of each epoch, or None
    eval_times      seconds of judging once, by the same names as `eval_acc1es`; may be empty

Accuracies are those after the last epoch, as means over the seeds. CIFAR-10 is trained on half of
its training images where validation accuracy is measured, on all of them where test accuracy is.
Seconds are those of the training for the validation images and of judging by them once, as the
benchmark's own `simulate_train_eval` counts them. Files with weights ("-full") are not read.

Reading every file of a folder takes minutes.

References: Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture
Search", ICLR 2020; Dong et al., "NATS-Bench: Benchmarking NAS Algorithms for Architecture Topology
and Size", TPAMI 2021; github.com/D-X-Y/NATS-Bench.

Legend: `N` networks.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hwnas_jax.cost.files.readers.build_table import encode_texts
from hwnas_jax.errors import UserError
from hwnas_jax.files.pickles import fault, load_pickle
from hwnas_jax.spaces.base import Choices
from hwnas_jax.tabular.base import Benchmark, Columns, chosen_set, make_benchmark
from hwnas_jax.tabular.nasbench201 import cells_of
from hwnas_jax.tabular.nats_size import size_choices

_SETS = {
    "cifar10": {"validation": ("cifar10-valid", "x-valid"), "test": ("cifar10", "ori-test")},
    "cifar100": {"validation": ("cifar100", "x-valid"), "test": ("cifar100", "x-test")},
    "imagenet16_120": {
        "validation": ("ImageNet16-120", "x-valid"),
        "test": ("ImageNet16-120", "x-test"),
    },
}
"""Of each data set and split, what was trained on and which images judge."""

_META, _SUFFIX = "meta", ".pickle.pbz2"

Trainings = Mapping[str, Any]
"""By training ("12"), all results of one architecture."""


def has_trials(content: Any) -> bool:
    """Returns whether a file holds such trainings."""
    return isinstance(content, dict) and {"meta_archs", "arch2infos"} <= content.keys()


def read_trials(source: str, content: Mapping[str, Any], data_set: str | None) -> Benchmark:
    """Returns the benchmark of a single file.

    Args:
      source: the file's name.
      content: what it holds.
      data_set: "cifar10", "cifar100" or "imagenet16_120"; the first when left out.

    Raises:
      UserError: for another data set; names the architecture whose results are missing or damaged.
    """
    infos = content["arch2infos"]
    if not isinstance(infos, dict):
        raise UserError("arch2infos must be a table by number of architecture")
    return _read(source, content["meta_archs"], infos.items(), data_set)


def read_trials_folder(folder: Path, data_set: str | None) -> Benchmark:
    """Returns the benchmark of a folder; architectures without a file are unknown.

    Args:
      folder: with `meta.pickle.pbz2` in it.
      data_set: as in `read_trials`.

    Raises:
      UserError: as `read_trials`; names the file.
    """
    meta = folder / f"{_META}{_SUFFIX}"
    if not meta.is_file():
        raise UserError(f"it is a folder without {meta.name}, so no benchmark of NATS-Bench")
    content = load_pickle(meta)
    if not isinstance(content, dict) or "meta_archs" not in content:
        raise UserError(f"{meta.name} has no meta_archs")
    return _read(folder.name, content["meta_archs"], _pieces(folder), data_set)


def _pieces(folder: Path) -> Iterator[tuple[int, Trainings]]:
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        number = path.name.removesuffix(_SUFFIX)
        if number.isdecimal():
            try:
                yield int(number), load_pickle(path)
            except UserError as error:
                raise UserError(f"{path.name}: {error}") from error


def _read(
    source: str, texts: Any, infos: Iterable[tuple[Any, Trainings]], data_set: str | None
) -> Benchmark:
    name = chosen_set(source, data_set, _SETS)
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise UserError("meta_archs must be a list of texts")
    numbers: list[int] = []
    found: dict[tuple[str, int], dict[int, float]] = {}
    for number, trainings in infos:
        if not isinstance(number, int) or not 0 <= number < len(texts):
            raise UserError(f"architecture {number!r} is none of 0..{len(texts) - 1}")
        try:
            for results in trainings.values():
                if results["arch_str"] != texts[number]:
                    raise UserError(f"it is {results['arch_str']}, not {texts[number]}")
                for key, value in _values(results, name):
                    found.setdefault(key, {})[number] = value
        except UserError as error:
            raise UserError(f"architecture {number}: {error}") from error
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            raise UserError(
                f"architecture {number}: its results are damaged: {fault(error)}"
            ) from error
        numbers.append(number)
    architectures, space = _encoded([texts[number] for number in numbers], name)
    columns: Columns = {}
    seconds: dict[int | None, np.ndarray] = {}
    for (what, epochs), values in sorted(found.items(), reverse=True):
        column = np.array([values.get(number, np.nan) for number in numbers], float)
        if what == "seconds":
            seconds[epochs] = column
        else:
            columns[what, epochs] = column
    return make_benchmark(
        f"{source}:{name}", space, architectures, columns, seconds=seconds, gaps=True
    )


def _values(results: Mapping[str, Any], name: str) -> Iterator[tuple[tuple[str, int], float]]:
    """Returns the means over the seeds of one training, by split or "seconds", and epochs."""
    for split, (trained, images) in _SETS[name].items():
        seeds = results["dataset_seed"].get(trained, ())
        trials = [results["all_results"][trained, seed] for seed in seeds]
        lengths = {int(trial["epochs"]) for trial in trials}
        if not trials:
            continue
        if len(lengths) > 1:
            raise UserError(f"its trainings on {trained} have different numbers of epochs")
        (epochs,) = lengths
        accuracies = [trial["eval_acc1es"].get(f"{images}@{epochs - 1}") for trial in trials]
        if None not in accuracies:
            yield (split, epochs), float(np.mean(accuracies))
        times = [_seconds(trial, images, epochs) for trial in trials]
        if split == "validation" and None not in times:
            yield ("seconds", epochs), float(np.mean(np.array(times, float)))


def _seconds(trial: Mapping[str, Any], images: str, epochs: int) -> float | None:
    """Returns the seconds of training and of judging once; None where they are not known."""
    train, judge = trial["train_times"], trial["eval_times"]
    if not train or not judge:
        return None
    training = [train.get(epoch) for epoch in range(epochs)]
    judging = [judge.get(f"{images}@{epoch}") for epoch in range(epochs)]
    if None in training or None in judging:
        return None
    return float(np.sum(training) + np.mean(judging))


def _encoded(texts: list[str], name: str) -> tuple[np.ndarray, Choices]:
    space: Choices
    if texts and ":" in texts[0]:
        space = size_choices()
        texts = [text.replace(":", "/") for text in texts]
    else:
        space = cells_of(name)
    return encode_texts(space, texts), space
