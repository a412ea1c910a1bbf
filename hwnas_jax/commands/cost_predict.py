"""`hwnas cost predict`: what networks would cost, without building them."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from hwnas_jax.commands.options import is_place
from hwnas_jax.cost.files.architectures import parse_architecture
from hwnas_jax.cost.files.columns import understand
from hwnas_jax.cost.files.measurements import check_spec
from hwnas_jax.cost.files.readers.numbered import read_architecture
from hwnas_jax.cost.files.sheet import decode, parse_sheet
from hwnas_jax.cost.models.base import predict_architectures, std_architectures
from hwnas_jax.cost.models.registry import open_cost_model
from hwnas_jax.display import plain
from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import load_or_offer
from hwnas_jax.spaces import SPACES
from hwnas_jax.spaces.base import Choices
from hwnas_jax.spaces.core.architecture_files import load_architecture


@dataclasses.dataclass(frozen=True)
class CostPredictOptions:
    """Prints what a cost model predicts for networks, with its standard deviation."""

    model: tyro.conf.Positional[Path]
    """the cost model"""
    architectures: tyro.conf.Positional[tuple[str, ...]]
    """each an architecture file; a CSV file with a column architecture, or one per decision; a text
    in the space's notation; the numbers of its options as [0,3,1]; a row of a table as TABLE:6111,
    or the published number alone (nasbench201, transnas_cell), whose table is looked for in
    HWNAS_DATA; or - for texts on standard input, one a line. What the notation of the space reads
    is not taken for a number"""
    space: Annotated[str | None, tyro.conf.arg(name="space.name")] = None
    """the Python path of the model's search space, where that is code of your own"""
    json: bool = False
    """print one JSON list"""


def read_architectures(words: tuple[str, ...], space: Choices) -> np.ndarray:
    """Returns the architectures `int32[N, D]` that `words` mean.

    Args:
      words: strings, names of files, or "-".
      space: they must be of.

    Raises:
      UserError: names the file and row, or the string, and the nearest option.
    """
    found: list[np.ndarray] = []
    for word in words:
        if word == "-":
            for number, line in enumerate(sys.stdin, 1):
                if line.strip():
                    place = f"standard input, line {number}"
                    found.append(read_architecture(line.strip(), space, place))
        elif word.lower().endswith(".csv"):
            found += _of_csv(Path(word), space)
        elif is_place(word, Path.is_file):
            of, architecture = load_architecture(Path(word))
            check_spec(of.spec, space, f"architecture file {word}: its contents")
            found.append(architecture)
        elif word.endswith(".json"):
            raise UserError(f"no architecture file {word}")
        else:
            found.append(read_architecture(word, space, "the command line"))
    if not found:
        raise UserError("no architecture was given")
    return np.stack(found)


def _of_csv(path, space):
    try:
        sheet = parse_sheet(decode(path.read_bytes()))
        if sheet.spec is not None:
            check_spec(sheet.spec, space, "its rows")
        names = [decision.name for decision in space.decisions]
        columns = understand(sheet, names, metrics=False)
        return [parse_architecture(columns, row, space, f"line {line}") for line, row in sheet.rows]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def run(words: list[str]) -> None:
    """Prints a line per network."""
    # A string of architecture may begin with a dash only as standard input; tyro takes "-" as is.
    options = tyro.cli(CostPredictOptions, args=words, prog="hwnas cost predict")
    if options.space is not None:
        SPACES.find(options.space)
    model, space = load_or_offer(options.model, open_cost_model)
    architectures = read_architectures(options.architectures, space)
    predicted = predict_architectures(model, architectures, space.num_options)
    deviation = std_architectures(model, architectures, space.num_options)
    rows = [
        {
            "architecture": space.to_string(architecture),
            **{
                metric: {
                    "value": float(predicted[metric][number]),
                    "std": float(deviation[metric][number]),
                }
                for metric in model.metrics
            },
        }
        for number, architecture in enumerate(architectures)
    ]
    if options.json:
        print(json.dumps(rows))
        return
    for row in rows:
        costs = ", ".join(shown(metric, **row[metric]) for metric in model.metrics)
        print(plain(f"{row['architecture']}  {costs}"))


def shown(metric: str, value: float, std: float) -> str:
    """Returns a cost in words.

    >>> shown("latency_ms", 12.3456, 0.4321)
    'latency 12.35 ± 0.43 ms'
    >>> shown("macs", 15647370.0, 0.0)
    'macs 15,647,370'
    """
    stem, _, unit = metric.rpartition("_")
    amount = f"{value:,.0f}" if value >= 1e4 else f"{value:.4g}"
    spread = f" ± {std:.2g}" if std else ""
    return (
        f"{stem.replace('_', ' ')} {amount}{spread} {unit}"
        if stem
        else f"{metric} {amount}{spread}"
    )
