"""The command line: finds the command, runs it, and turns its end into an exit code."""

import importlib
import os
import sys
import traceback

from hwnas_jax.display import Terminal, plain
from hwnas_jax.errors import Interrupted, UserError, choose, shown
from hwnas_jax.parallel import distributed
from hwnas_jax.parallel.progress import StopRequest

COMMANDS: dict[str, str] = {
    "search": "the whole job: profile, fit, search, retrain, measure, report",
    "sweep": "many targets searched in one program: a whole front",
    "profile": "time the operations and a sample of networks on this device",
    "estimate": "what networks would cost on a TPU or an accelerator that is not here",
    "cost fit": "train the learned cost model on a measurement file",
    "cost eval": "compare a cost model with a measurement file or a published table",
    "cost predict": "what networks would cost, with the model's own uncertainty",
    "cost study": "compare cost models on a published table or measurements",
    "cost transfer": "a cost model of a new device from few samples and tables of others",
    "table": "train and measure the networks of a space: a table of one's own",
    "compare": "search methods compared on a table of trained networks, many seeds each",
    "sources": "the same search on real data and on data that are not, looked up in a table",
    "evaluate": "the networks of a finished run in a published table of accuracies",
    "fewshot": "learn to adapt networks to tasks of few examples, and to budgets",
    "transfer": "a finished search carried over to another device, without paying for it again",
    "derive": "the best architectures of a finished search, under any budget",
    "retrain": "train the network of an architecture file from scratch",
    "measure": "time the network of an architecture file",
    "export": "a network as ONNX or StableHLO, with its weights if it is trained",
    "report": "write the page of a run again",
    "list": "search spaces, methods of every kind, data sources, devices; systems, tasks360",
}
"""The commands and what they do; each is a file in `hwnas_jax/commands/`."""

_HELP = ("-h", "--help")


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0, 2 for a mistake of the user, 128 + signal."""
    words = list(sys.argv[1:] if argv is None else argv)
    console = Terminal().console
    if not words or words[0] in _HELP:
        console.print("usage: hwnas COMMAND [CONFIG] [--options]\n", markup=False)
        for name, line in COMMANDS.items():
            console.print(f"  {name:<13} {line}")
        console.print("\nhwnas COMMAND --help shows the options of a command.")
        return 0 if words else 2
    if words[0] == "cost" and words[1:] and words[1] in _HELP:
        words.insert(1, "fit")
    length = 2 if words[0] == "cost" else 1
    try:
        _check_shown(words)
        name = choose(" ".join(words[:length]), COMMANDS, "command")
        command = importlib.import_module(f"hwnas_jax.commands.{name.replace(' ', '_')}")
        _prepare_jax()
        with StopRequest.listening():
            command.run(words[length:])
            distributed.finish()
    except (UserError, OSError) as error:
        return _failed(2, f"error: {error}")
    except SystemExit as stop:  # tyro has shown its help, or said what it could not parse
        return stop.code if isinstance(stop.code, int) else 2
    except Interrupted as stop:
        return _failed(128 + stop.signum, str(stop))
    except KeyboardInterrupt:
        return _failed(130, "interrupted at once; the last checkpoint holds")
    except Exception as error:
        traceback.print_exc()
        distributed.fail(1, f"{type(error).__name__}: {error}")
        raise
    return 0


def _check_shown(words: list[str]) -> None:
    """Refuses what would control the terminal when a message repeats it.

    Halves of surrogate pairs are left: names of files that are no UTF-8 have them.
    """
    for word in words:
        text = word.encode("utf-8", "ignore").decode()
        if plain(text) != text:
            raise UserError(f"the argument {shown(plain(text))} holds a control character")


def _failed(code: int, message: str) -> int:
    sys.stderr.write(f"{distributed.name()}{plain(message)}\n")
    distributed.fail(code, message)
    return code


def entry() -> None:
    """The console script."""
    sys.exit(main())


def _prepare_jax() -> None:
    """Keeps compiled programs in the user's cache folder, so that a second start is quick."""
    import jax

    from hwnas_jax.files.cache import cache_folder

    jax.config.update(
        "jax_compilation_cache_dir", os.environ.get("JAX_COMPILATION_CACHE_DIR")
        or str(cache_folder() / "compiled"),
    )  # fmt: skip
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
