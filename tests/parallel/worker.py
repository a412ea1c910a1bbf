"""One process of a small search: `python -m tests.parallel.worker '<json>'`.

It stands for a user's own script: it joins the job, searches, and writes what it ended with. Where
the run folder holds a cost model, the search measures and goes by that model.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import jax
import numpy as np

from hwnas_jax.cli import _failed
from hwnas_jax.config import Config
from hwnas_jax.cost import load_cost_model
from hwnas_jax.errors import Interrupted, UserError
from hwnas_jax.files.cache import cache_folder
from hwnas_jax.parallel import distributed
from hwnas_jax.parallel.progress import StopRequest
from tests.parallel import measuring
from tests.parallel.toy import SPACE, end_of, searched, settings


def main(options: dict) -> int:
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    measuring.install()
    config = settings(**options["config"])
    try:
        with StopRequest.listening():
            distributed.start(config.parallel, Path(options["folder"]).parent)
            search(config, options)
            distributed.finish()
    except UserError as error:
        return _failed(2, f"error: {error}")
    except Interrupted as stop:
        return _failed(128 + stop.signum, str(stop))
    return 0


def search(config: Config, options: dict) -> None:
    def progress(done, total, what):
        if done == options.get("die_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if done == options.get("stop_at"):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)

    folder, model = Path(options["folder"]), None
    if (folder / "cost_model.npz").exists():
        model = load_cost_model(folder / "cost_model.npz", SPACE)
    result = searched(config, model, folder=folder, progress=progress)
    if "out" in options:
        arrays = end_of(result)
        if model is not None:
            arrays["model"] = measuring.leaves_of(result.cost_model)
        np.savez(options["out"], **arrays)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
