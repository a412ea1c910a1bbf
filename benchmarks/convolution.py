"""Times our convolution beside `lax.conv`, alone and inside `scan`: its value and both gradients.

    python benchmarks/convolution.py

The two forms take turns in one process, on the backend in use, and the script prints medians and
ratios. The gradients of both are compiled with the XLA options that training uses. On a GPU or a
TPU the two forms are the same, so that the ratios are one.
"""

import statistics
import time

import jax
import jax.numpy as jnp

from hwnas_jax.compile.ahead import compiler_options
from hwnas_jax.nn.kernels.convolution import _conv2d_lax, conv2d

BATCH, SIZE, CHANNELS, ROUNDS, LENGTH = 64, 32, 16, 15, 10


def plain(x, kernel):
    return _conv2d_lax(x, kernel, 1, 1)


def in_scan(function):
    """Returns `function` run `LENGTH` times, each on inputs that depend on the one before."""

    def run(x, kernel):
        def one(carry, _):
            out = function(x * (1 + carry * 1e-9), kernel)
            return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(out)) * 1e-9, None

        return jax.lax.scan(one, jnp.zeros(()), length=LENGTH)[0]

    return run


def cases(form):
    loss = lambda x, kernel: (form(x, kernel) ** 2).sum()  # noqa: E731
    return {
        "value": form,
        "input gradient": jax.grad(loss, argnums=0),
        "kernel gradient": jax.grad(loss, argnums=1),
    }


def seconds(compiled, arguments):
    start = time.perf_counter()
    jax.block_until_ready(compiled(*arguments))
    return time.perf_counter() - start


def main():
    keys = jax.random.split(jax.random.key(0))
    arguments = (
        jax.random.normal(keys[0], (BATCH, SIZE, SIZE, CHANNELS)),
        0.1 * jax.random.normal(keys[1], (3, 3, CHANNELS, CHANNELS)),
    )
    print(f"{jax.default_backend()}, 3x3, batch {BATCH}, {SIZE}x{SIZE}, {CHANNELS} channels")
    print(f"{'case':<28}{'ours ms':>10}{'lax ms':>10}{'ratio':>8}")
    for place, wrap, calls in (("alone", lambda f: f, 1), ("in scan", in_scan, LENGTH)):
        ours, theirs = cases(conv2d), cases(plain)
        for name in ours:
            options = {} if name == "value" else compiler_options()
            compiled = [
                jax.jit(wrap(f[name])).lower(*arguments).compile(compiler_options=options)
                for f in (ours, theirs)
            ]
            pairs = []
            for turn in range(ROUNDS + 1):
                pair = [1e3 * seconds(c, arguments) / calls for c in compiled]
                if turn:
                    pairs.append(pair)
            own, other = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(a / b for a, b in pairs)
            print(f"{name + ', ' + place:<28}{own:>10.2f}{other:>10.2f}{ratio:>8.2f}")


if __name__ == "__main__":
    main()
