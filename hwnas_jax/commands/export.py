"""`hwnas export`: a network as a file for other runtimes."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from flax import nnx

from hwnas_jax.cost.measure.build import fill, network_build
from hwnas_jax.data.pipeline import normalise
from hwnas_jax.display import Terminal
from hwnas_jax.errors import UserError
from hwnas_jax.export import INPUT, check_output, require, to_onnx, to_stablehlo
from hwnas_jax.files.json_files import load_or_offer
from hwnas_jax.files.new import taken_file
from hwnas_jax.files.whole import write_whole
from hwnas_jax.runs.run import Run
from hwnas_jax.spaces import Space
from hwnas_jax.spaces.core.architecture_files import load_architecture

_CHECKED = 16


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """Writes a network for other runtimes, checked against JAX.

    The retrained network of a run takes images as they are stored (uint8) and normalises them
    itself. An architecture that is not trained yet gets arbitrary weights and takes normalised
    images (float32): right for timing elsewhere, not for predicting.
    """

    source: tyro.conf.Positional[Path]
    """a run folder or an architecture file"""
    format: Literal["onnx", "stablehlo"] = "onnx"
    """onnx (extra `export`), or StableHLO as jax.export.deserialize reads it"""
    out: Path | None = None
    """the file to write; network.onnx or network.stablehlo when left out"""
    batch_size: int | None = None
    """images per call; any number when left out"""
    network: str | None = None
    """of a run: the label of another retrained network than the selected one"""


class _Exported(NamedTuple):
    """What is exported.

    Attributes:
      function: images to logits.
      images: `[B, H, W, C]` to check the file with.
      what: says which network it is and which weights it has.
      notes: texts that an ONNX file carries.
    """

    function: Callable[[jax.Array], jax.Array]
    images: np.ndarray
    what: str
    notes: dict[str, str]


def run(words: list[str]) -> None:
    """Writes a network's file."""
    options = tyro.cli(ExportOptions, args=words, prog="hwnas export")
    out = options.out or Path(f"network.{options.format}")
    with taken_file(out):
        _export(options, out)


def _export(options: ExportOptions, out: Path) -> None:
    if options.batch_size is not None and options.batch_size < 1:
        raise UserError(f"--batch-size must be positive, got {options.batch_size}")
    found = _of_run(options) if options.source.is_dir() else _of_file(options)
    shape = (options.batch_size, *found.images.shape[1:])
    images = found.images[: options.batch_size or _CHECKED]
    if options.batch_size is not None:
        images = np.resize(images, shape)
    expected = np.asarray(jax.jit(found.function)(images))
    if options.format == "onnx":
        content = to_onnx(found.function, shape, images.dtype, notes=found.notes)
        session = require("onnxruntime", "export").InferenceSession(
            content, providers=["CPUExecutionProvider"]
        )
        returned = session.run(None, {INPUT: images})[0]
    else:
        content = to_stablehlo(found.function, shape, images.dtype)
        returned = np.asarray(jax.export.deserialize(bytearray(content)).call(images))
    difference = check_output(returned, expected, found.what)
    write_whole(out, content)
    display = Terminal()
    display.say(found.what)
    size = "any number of" if options.batch_size is None else str(options.batch_size)
    display.say(
        f"takes {size} images {images.dtype}{list(images.shape[1:])}; differs from JAX by "
        f"{difference:.1e} of the largest output"
    )
    display.say(f"wrote {out} ({len(content) / 2**20:.2f} MiB)")


def _of_file(options: ExportOptions) -> _Exported:
    if options.network is not None:
        raise UserError("--network is for a run folder; an architecture file is one network")
    space, architecture = load_or_offer(options.source, load_architecture)
    return _untrained(space, architecture)


def _of_run(options: ExportOptions) -> _Exported:
    run = Run.open(options.source)
    if not run.finished("retrain"):
        if run.wanted.several:
            raise UserError(
                f"{run.folder} is a sweep without retrained networks; export one of the files in "
                "its architectures/"
            )
        path = run.folder / "architecture.json"
        if options.network is not None or not path.exists():
            raise UserError(
                f"{run.folder} holds no retrained network; continue it with: hwnas search "
                f"--resume {run.folder}"
            )
        return _untrained(*load_or_offer(path, load_architecture))
    trained = run.trained(options.network)
    entry = run.network(options.network)
    graph, state = nnx.split(trained.network)
    metric = run.task.metric
    mean, std = jnp.asarray(run.dataset.mean), jnp.asarray(run.dataset.std)

    def function(images: jax.Array) -> jax.Array:
        return nnx.merge(graph, state)(normalise(images, mean, std))

    return _Exported(
        function,
        run.dataset.test_inputs[:_CHECKED],
        f"{entry['string']}, {entry['label']} of {run.folder}, retrained: test "
        f"{metric.replace('_', ' ')} {run.task.show(trained.test_metric)}",
        {
            **_notes(run.space, run.space.from_names(entry["architecture"])),
            "classes": ", ".join(run.dataset.output_names),
            f"test_{metric}": f"{trained.test_metric:.4f}",
        },
    )


def _untrained(space: Space, architecture: np.ndarray) -> _Exported:
    graph, structure, leaves, images = fill(
        network_build(space, architecture), (_CHECKED, *space.input_shape)
    )
    module: Any = nnx.merge(graph, jax.tree.unflatten(structure, jax.device_put(leaves)))
    what = f"{space.to_string(architecture)}, not trained: its weights are arbitrary"
    return _Exported(module, images, what, _notes(space, architecture))


def _notes(space: Space, architecture: np.ndarray) -> dict[str, str]:
    return {"space": str(space.spec), "architecture": space.to_string(architecture)}
