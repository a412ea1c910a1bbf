"""AutoFormer's space: a vision transformer whose sizes are chosen, with entangled weights.

The decisions are the embedding dimension (one for the network), the depth, and for each block the
number of heads and the ratio of the MLP. Queries, keys and values have `head_size` channels a head.
The weights of a small choice are the leading part of the weights of a large one. By default the
sizes are those of AutoFormer-Tiny, and one of the networks is DeiT-Ti. Positions are absolute and
learned; the relative positions that AutoFormer adds are left out.

References: Chen et al., "AutoFormer: Searching Transformers for Visual Recognition", ICCV 2021;
Wang et al., "HAT: Hardware-Aware Transformers", ACL 2020; Touvron et al., "Training Data-Efficient
Image Transformers" (DeiT), ICML 2021.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Annotated, Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le
from flax import nnx

from hwnas_jax.errors import UserError, shown
from hwnas_jax.nn.entangled import leading, leading_branch
from hwnas_jax.nn.hierarchical import width_mask
from hwnas_jax.nn.layerwise import run_drawn_block, stacked
from hwnas_jax.nn.transformer import MLP, Attention, Patches, TokenHead
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces.base import SPACES, Decision, Operation, Place, Space
from hwnas_jax.spaces.core.arguments import Numbers, image, joined, numbers
from hwnas_jax.spaces.core.mixture import Governed, Governor
from hwnas_jax.spaces.core.tabulate import OperationTable, made_once

_EMBEDDING, _DEPTH, _FIRST = 0, 1, 2


@SPACES.add
class AutoFormer(Governed, Space):
    """AutoFormer's space at any size."""

    name = "autoformer"
    summary = "vision transformer: embedding, depth, heads and MLP ratio of each block; patch, pool"
    nested = (("depth",), ("embedding", "*.heads", "*.ratio"))

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_outputs: int,
        embeddings: Numbers | int = "192,216,240",
        depths: Numbers | int = "12,13,14",
        heads: Numbers | int = "3,4",
        ratios: Sequence[float] | str | float = "3.5,4",
        head_size: Annotated[int, Ge(1), Le(1024)] = 64,
        patch: Annotated[int, Ge(1), Le(1024)] = 16,
        pool: Literal["token", "mean"] = "token",
    ):
        """Sets the sizes; by default AutoFormer-Tiny's.

        Args:
          input_shape: `(H, W, C)` of one image.
          num_outputs: outputs of the network.
          embeddings: numbers of channels that a token may have.
          depths: numbers of blocks that the network may have.
          heads: numbers of heads that a block may have.
          ratios: hidden units of a block's MLP as multiples of the embedding.
          head_size: channels of a head.
          patch: pixels along a patch's side.
          pool: "token" classifies a class token, "mean" the mean of all tokens.

        Raises:
          UserError: for numbers out of range, and images that the patch does not divide.
        """
        self.embeddings = numbers("embeddings", embeddings, 1, 8192)
        self.depths = numbers("depths", depths, 1, 128)
        self.heads = numbers("heads", heads, 1, 128)
        self.ratios = numbers("ratios", ratios, 0.125, 16, kind=float)
        height, width, features = image(input_shape)
        if height % patch or width % patch:
            fits = [n for n in range(1, min(height, width) + 1) if height % n == width % n == 0]
            raise UserError(
                f"images of {height}x{width} are not divisible into patches of {patch}x{patch}; "
                f"space.args.patch may be {', '.join(map(str, fits))}"
            )
        self.input_shape, self.num_outputs = (height, width, features), int(num_outputs)
        self.head_size, self.patch, self.pool = head_size, patch, pool
        self.tokens = (height // patch) * (width // patch) + (pool == "token")
        self.args: dict[str, Any] = {
            "embeddings": joined(self.embeddings), "depths": joined(self.depths),
            "heads": joined(self.heads), "ratios": joined(self.ratios),
            "head_size": head_size, "patch": patch, "pool": pool,
        }  # fmt: skip
        per_block = (
            ("heads", tuple(map(str, self.heads))),
            ("ratio", tuple(f"x{ratio:g}" for ratio in self.ratios)),
        )
        self.decisions = (
            Decision("embedding", tuple(map(str, self.embeddings))),
            Decision("depth", tuple(map(str, self.depths))),
            *(
                Decision(f"block{number}.{what}", options)
                for number in range(1, max(self.depths) + 1)
                for what, options in per_block
            ),
        )

    def hidden(self, embedding: int, ratio: float) -> int:
        """Returns the hidden units of an MLP."""
        return max(1, int(embedding * ratio))

    def offered(self) -> tuple[tuple[int, ...], ...]:
        """Returns the options of embedding, depth, heads and ratio that are on in any block."""
        mask = self.mask
        rows = (
            mask[_EMBEDDING], mask[_DEPTH], mask[_FIRST::2].any(0), mask[_FIRST + 1 :: 2].any(0)
        )  # fmt: skip
        return tuple(tuple(np.flatnonzero(row).tolist()) for row in rows)

    def _patches(self, embedding: int, rngs: nnx.Rngs) -> nnx.Module:
        token = self.pool == "token"
        shape = cast(tuple[int, int, int], self.input_shape)
        return Patches(shape, self.patch, embedding, rngs, token=token)

    def _attention(self, embedding: int, heads: int, rngs: nnx.Rngs) -> nnx.Module:
        return Attention(embedding, heads, self.head_size, rngs)

    def _mlp(self, embedding: int, ratio: float, rngs: nnx.Rngs) -> nnx.Module:
        return MLP(embedding, self.hidden(embedding, ratio), rngs)

    def _head(self, embedding: int, rngs: nnx.Rngs) -> nnx.Module:
        return TokenHead(embedding, self.num_outputs, rngs, token=self.pool == "token")

    def supernet(
        self, rngs: nnx.Rngs, *, axis_name: str | None = None, rematerialise: bool = False
    ) -> nnx.Module:
        del axis_name  # no statistics over the batch
        return _Supernet(self, rngs, rematerialise)

    def network(
        self, architecture: np.ndarray, rngs: nnx.Rngs, *, axis_name: str | None = None
    ) -> nnx.Module:
        del axis_name
        return _Network(self, self.check(architecture), rngs)

    def inherit(self, network: nnx.Module, architecture: np.ndarray, supernet: nnx.Module) -> None:
        self.check(architecture)
        target, source = cast(_Network, network), cast(_Supernet, supernet)

        def take(part, whole, number=None):
            own = nnx.state(part, nnx.Param)
            nnx.update(part, leading(nnx.state(whole, nnx.Param), own, number))

        take(target.patches, source.patches)
        take(target.head, source.head)
        for parts, whole in ((target.attentions, source.attention), (target.mlps, source.mlp)):
            for number, part in enumerate(parts):
                take(part, whole, number)

    @made_once
    def operations(self) -> tuple[dict[str, Operation], tuple[Place, ...]]:
        table = OperationTable()
        on_embeddings, on_depths, *_ = self.offered()
        for e in on_embeddings:
            width, of = self.embeddings[e], ((_EMBEDDING, e),)
            inside = (self.tokens, width)
            table.stands(
                f"patches to {width}", self.input_shape,
                functools.partial(self._patches, width), of,
            )  # fmt: skip
            for block in range(max(self.depths)):
                deep = [d for d in on_depths if self.depths[d] > block]
                # A block that every depth has does not depend on the depth.
                whens = [of] if len(deep) == len(on_depths) else [(*of, (_DEPTH, d)) for d in deep]
                row = _FIRST + 2 * block
                for when in whens:
                    for h in np.flatnonzero(self.mask[row]).tolist():
                        table.stands(
                            f"attention {self.heads[h]}", inside,
                            functools.partial(self._attention, width, self.heads[h]),
                            (*when, (row, h)),
                        )  # fmt: skip
                    for r in np.flatnonzero(self.mask[row + 1]).tolist():
                        table.stands(
                            f"mlp x{self.ratios[r]:g}", inside,
                            functools.partial(self._mlp, width, self.ratios[r]),
                            (*when, (row + 1, r)),
                        )  # fmt: skip
            table.stands("head", inside, functools.partial(self._head, width), of)
        return table.result()

    @property
    def governors(self) -> tuple[Governor, ...]:
        blocks = range(_FIRST, self.num_decisions)
        number = (np.arange(_FIRST, self.num_decisions) - _FIRST) // 2
        depths = np.full(self.num_options, len(blocks))
        depths[: len(self.depths)] = self.depths
        return (Governor(_DEPTH, blocks, number >= depths[:, None]),)

    def to_string(self, architecture: np.ndarray) -> str:
        """Returns the embedding, then the heads and ratio of each block, "192-3x4-4x3.5"."""
        names = list(self.to_names(architecture).values())
        stop = _FIRST + 2 * int(names[_DEPTH])
        blocks = [names[row] + names[row + 1] for row in range(_FIRST, stop, 2)]
        return "-".join([names[_EMBEDDING], *blocks])

    def from_string(self, text: str) -> np.ndarray:
        embedding, *blocks = text.strip().split("-")
        split = [word.partition("x") for word in blocks]
        if len(blocks) not in self.depths or not all(x and ratio for _, x, ratio in split):
            raise UserError(
                f"{shown(text)} is no network of {self.name}: an embedding and "
                f"{joined(self.depths)} blocks joined by '-' are wanted, each of heads and ratio, "
                f"as in '{self.embeddings[0]}-{self.heads[0]}x{self.ratios[0]:g}-...'"
            )
        firsts = self.mask.argmax(1)
        names = {d.name: d.options[i] for d, i in zip(self.decisions, firsts, strict=True)}
        names |= {"embedding": embedding, "depth": str(len(blocks))}
        for number, (heads, _, ratio) in enumerate(split, 1):
            names |= {f"block{number}.heads": heads, f"block{number}.ratio": f"x{ratio}"}
        return self.from_names(names)


class _Network(nnx.Module):
    def __init__(self, space: AutoFormer, architecture: np.ndarray, rngs: nnx.Rngs):
        embedding = space.embeddings[architecture[_EMBEDDING]]
        depth = space.depths[architecture[_DEPTH]]
        blocks = architecture[_FIRST:].reshape(-1, 2)[:depth]
        self.patches = space._patches(embedding, rngs)
        self.attentions = nnx.List(
            space._attention(embedding, space.heads[heads], rngs) for heads, _ in blocks
        )
        self.mlps = nnx.List(
            space._mlp(embedding, space.ratios[ratio], rngs) for _, ratio in blocks
        )
        self.head = space._head(embedding, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.patches(x)
        for attention, mlp in zip(self.attentions, self.mlps, strict=True):
            x = x + attention(x)
            x = x + mlp(x)
        return self.head(x)


class _Supernet(nnx.Module):
    """The widest network; its blocks are stacked and scanned.

    Mixed, masks stand for narrower choices. Drawn, only the leading parts of the weights run, and
    tokens have zeros behind their own channels. The blocks of the drawn depth run and the others
    cost nothing. The gate of the embedding multiplies the network's output, since an embedding has
    no other output of its own.
    """

    def __init__(self, space: AutoFormer, rngs: nnx.Rngs, rematerialise: bool):
        self.space, self.rematerialise = space, rematerialise
        embeddings, depths, heads, ratios = space.offered()
        self.embeddings = tuple(space.embeddings[e] for e in embeddings)
        self.depths = tuple(space.depths[d] for d in depths)
        self.heads = tuple(space.heads[h] for h in heads)
        self.ratios = tuple(space.ratios[r] for r in ratios)
        self.offered = (embeddings, depths, heads, ratios)
        widest = max(self.embeddings)
        self.patches = space._patches(widest, rngs)
        count = max(self.depths)
        attention = functools.partial(space._attention, widest, max(self.heads))
        self.attention = stacked(attention, count, rngs)
        self.mlp = stacked(functools.partial(space._mlp, widest, max(self.ratios)), count, rngs)
        self.head = space._head(widest, rngs)

    def __call__(self, x: jax.Array, gates: Gates) -> jax.Array:
        weight = jnp.asarray(gates.weight)
        count = max(self.depths)
        blocks = weight[_FIRST : _FIRST + 2 * count]
        depths = weight[_DEPTH, np.array(self.offered[1])]
        # A block is present in every network that is deeper than the block's number.
        present = (depths[:, None] * (np.array(self.depths)[:, None] > np.arange(count))).sum(0)
        choices = (blocks[::2], blocks[1::2], present)
        if gates.index is None:
            return self._mixed(x, weight[_EMBEDDING, np.array(self.offered[0])], choices)
        return self._drawn(x, weight[_EMBEDDING], choices, jnp.asarray(gates.index))

    def _scan(self, block, x, choices):
        """Runs `block(x, attention, mlp, *choices)` for one block after another."""
        attention_graph, attention = nnx.split(self.attention)
        mlp_graph, mlp = nnx.split(self.mlp)

        def step(x, of):
            attention, mlp, choices = of
            return block(x, (attention_graph, attention), (mlp_graph, mlp), *choices), None

        step = jax.checkpoint(step) if self.rematerialise else step
        return jax.lax.scan(step, x, (attention, mlp, choices))[0]

    def _mixed(self, x, embedding, choices):
        widest = max(self.embeddings)
        channels = width_mask(embedding, self.embeddings, widest)
        pairs = itertools.product(self.embeddings, self.ratios)
        hidden = tuple(self.space.hidden(*pair) for pair in pairs)

        def block(x, attention, mlp, heads, ratio, present):
            of_heads = width_mask(heads[np.array(self.offered[2])], self.heads, max(self.heads))
            joint = jnp.outer(embedding, ratio[np.array(self.offered[3])]).reshape(-1)
            of_hidden = width_mask(joint, hidden, max(hidden))
            present = present.astype(x.dtype)
            x = x + present * nnx.merge(*attention)(x, channels, of_heads)
            return x + present * nnx.merge(*mlp)(x, channels, of_hidden)

        x = self.patches(x, channels)
        return self.head(self._scan(block, x, choices), channels)

    def _drawn(self, x, embedding, choices, index):
        space, widest, count = self.space, max(self.embeddings), max(self.depths)
        of_embedding = _position(self.offered[0], index[_EMBEDDING])
        deep = jnp.array(space.depths)[index[_DEPTH]] > jnp.arange(count)
        drawn = index[_FIRST : _FIRST + 2 * count]

        def branches(build, options):
            return (
                *(
                    leading_branch(functools.partial(build, e, o), inputs=e, outputs=widest)
                    for e, o in itertools.product(self.embeddings, options)
                ),
                lambda x, state, factor: jnp.zeros_like(x),
            )

        attentions = branches(space._attention, self.heads)
        mlps = branches(space._mlp, self.ratios)

        def part(branches, x, of, offered, weight, option, present, there):
            number = of_embedding * len(offered) + _position(offered, option)
            number = jnp.where(there, number, len(branches) - 1)
            operands = (of[1], present * weight[option])
            return x + run_drawn_block(branches, x, number, operands)

        def block(x, attention, mlp, heads, ratio, present, drawn_heads, drawn_ratio, there):
            x = part(attentions, x, attention, self.offered[2], heads, drawn_heads, present, there)
            return part(mlps, x, mlp, self.offered[3], ratio, drawn_ratio, present, there)

        enter = tuple(
            leading_branch(functools.partial(space._patches, e), outputs=widest)
            for e in self.embeddings
        )
        leave = tuple(
            leading_branch(functools.partial(space._head, e), inputs=e) for e in self.embeddings
        )
        whole = (nnx.split(self.patches)[1], jnp.ones((), embedding.dtype))
        x = run_drawn_block(enter, x, of_embedding, whole)
        x = self._scan(block, x, (*choices, drawn[::2], drawn[1::2], deep))
        operands = (nnx.split(self.head)[1], embedding[index[_EMBEDDING]])
        return run_drawn_block(leave, x, of_embedding, operands)


def _position(offered, option):
    """Returns where an option stands among those that are on."""
    return jnp.argmax(jnp.array(offered) == option)
