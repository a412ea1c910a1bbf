"""MetaNAS: a softmax that grows hard, so that the strongest option can be kept as it is."""

import dataclasses

import jax

from hwnas_jax.relax.base import RELAXATIONS, Gates, Params, Relaxation, softmax_probabilities


@RELAXATIONS.add
@dataclasses.dataclass(frozen=True)
class AnnealedSoftmax(Relaxation):
    """Mixes all options by a softmax at the temperature, without noise.

    As the temperature falls, the gates come close to one-hot rows. What is left of the weaker
    options can then be dropped without training the weights again.

    References: Elsken et al., "Meta-Learning of Neural Architectures for Few-Shot Learning",
    CVPR 2020.
    """

    name = "annealed_softmax"
    summary = "all options run, mixed by a softmax that the temperature makes hard (MetaNAS)"

    def sample(
        self, key: jax.Array, params: Params, mask: jax.Array, temperature: jax.Array
    ) -> Gates:
        """Returns the softmax of the logits over the temperature as gates."""
        del key
        return Gates(softmax_probabilities(params / temperature, mask))
