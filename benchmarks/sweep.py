"""Times a sweep of 8 targets beside 8 searches one after another, and compares their results.

    python benchmarks/sweep.py [--config digits] [--targets 8] [--rounds 1] [--out FOLDER]
        [--options …]

Both are started from the command line with the same cost model and a warm compilation cache, and
run to the end of the search. Whole processes are timed, and they take turns. The script writes
`sweep.json` and `sweep.md` to the folder, which keeps the runs too. Words after `--options` are
passed to every command (`--options --search.steps 300`).
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HWNAS = [sys.executable, "-m", "hwnas_jax"]


def hwnas(*words):
    """Runs a command to its end; returns its wall time in seconds."""
    start = time.perf_counter()
    done = subprocess.run([*HWNAS, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"hwnas {' '.join(words)}\n{done.stdout}{done.stderr}")
    return time.perf_counter() - start


def stop_after_first_line(stages, *words):
    """Starts a command and stops it once each of `stages` has run, that is, is compiled."""
    folder = Path(words[words.index("--run-dir") + 1])
    metrics = folder / "metrics.jsonl"
    process = subprocess.Popen(
        [*HWNAS, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while process.poll() is None:
        lines = metrics.read_text().splitlines()[:-1] if metrics.exists() else []
        if stages <= {json.loads(line)["stage"] for line in lines}:
            process.send_signal(signal.SIGINT)
            break
        time.sleep(0.1)
    said, _ = process.communicate()
    if process.returncode not in (0, 128 + signal.SIGINT):
        raise SystemExit(said)


def percentiles(count):
    return np.linspace(10, 80, count).round(3).tolist()


def differences(sweep, singles):
    """Returns the largest difference of probabilities, over all members."""
    ours = np.load(sweep / "search.npz")["probabilities"]
    theirs = np.concatenate([np.load(s / "search.npz")["probabilities"] for s in singles])
    return {
        "probabilities": float(np.abs(ours - theirs).max()),
        "same_likeliest": int((ours.argmax(-1) == theirs.argmax(-1)).all(-1).sum()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="digits")
    parser.add_argument("--targets", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("bench-sweep"))
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[])
    arguments = parser.parse_args()
    out, options = arguments.out, arguments.options
    out.mkdir(parents=True, exist_ok=True)
    base = out / "base"
    if not (base / "cost_model.npz").exists():
        hwnas("search", arguments.config, "--run-dir", str(base), "--until", "fit_cost", *options)
    given = ["--cost-model", str(base / "cost_model.npz"), "--until", "search", *options]
    wanted = ["--percentiles", *map(str, percentiles(arguments.targets))]

    warm = out / f"warm-{os.getpid()}"
    many = ["sweep", arguments.config, *given, *wanted]
    stop_after_first_line({"warmup", "search"}, *many, "--run-dir", str(warm / "sweep"))
    payload = json.loads((warm / "sweep" / "targets.json").read_text())
    targets = [one["value"] for one in payload["targets"]]
    one = [["search", arguments.config, *given, "--target.value", repr(t)] for t in targets]
    for number, words in enumerate(one):
        stop_after_first_line({"search"}, *words, "--run-dir", str(warm / f"single-{number}"))

    rounds, apart = [], None
    for turn in range(arguments.rounds):
        folder = out / f"round-{turn}-{os.getpid()}"
        together = hwnas(*many, "--run-dir", str(folder / "sweep"))
        singles = [folder / f"single-{number}" for number in range(len(one))]
        each = [
            hwnas(*words, "--run-dir", str(single))
            for words, single in zip(one, singles, strict=True)
        ]
        rounds.append({"sweep_s": together, "singles_s": each, "ratio": together / sum(each)})
        apart = differences(folder / "sweep", singles)
        print(rounds[-1], apart, flush=True)
    result = {
        "config": arguments.config,
        "options": options,
        "targets": targets,
        "cores": os.cpu_count(),
        "versions": json.loads((folder / "sweep" / "versions.json").read_text()),
        "rounds": rounds,
        "differences": apart,
    }
    (out / "sweep.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "sweep.md").write_text(table(result))
    print((out / "sweep.md").read_text())


def table(result):
    rounds, apart = result["rounds"], result["differences"]
    ratios = [r["ratio"] for r in rounds]
    singles = statistics.median(sum(r["singles_s"]) for r in rounds)
    together = statistics.median(r["sweep_s"] for r in rounds)
    count = len(result["targets"])
    return (
        f"| {result['config']}, {count} targets, {result['cores']} cores | wall time | ratio |\n"
        "|---|---|---|\n"
        f"| {count} runs of `hwnas search --until search` | {singles:.1f} s | 1 |\n"
        f"| one `hwnas sweep --until search` | {together:.1f} s | "
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |\n\n"
        f"Largest difference from the single runs: {apart['probabilities']:.2g} in a probability; "
        f"{apart['same_likeliest']} of {count} end with the same most probable network.\n"
    )


if __name__ == "__main__":
    main()
