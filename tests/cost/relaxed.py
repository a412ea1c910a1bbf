"""The expectation of a cost over independent draws, and its gradient, by enumeration."""

import numpy as np


def probabilities(rng, shape, temperature, mask=True):
    """Returns `softmax(normal logits / temperature)`, rows of `shape`; zero off the mask."""
    logits = np.where(mask, rng.standard_normal(shape) / temperature, -np.inf)
    weight = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)


def expectation(costs, weight):
    """Returns mean cost and its gradient by the weights, of costs `float[K, ..., K]`."""
    gradient = np.zeros(weight.shape)
    for decision in range(len(weight)):
        rest = np.moveaxis(costs, decision, 0)
        for other in reversed([d for d in range(len(weight)) if d != decision]):
            rest = rest @ weight[other, : rest.shape[-1]]
        gradient[decision, : len(rest)] = rest
    return float((gradient[0] * weight[0]).sum()), gradient


def by_logits(gradient, weight):
    """Returns the gradient by softmax's logits, up to the temperature."""
    return weight * (gradient - (gradient * weight).sum(axis=1, keepdims=True))


def agreement(costs, predict, rng, shape, temperature, draws, mask=True):
    """Returns the mean cosine of the gradients by logits, and the mean relative gap of values.

    Args:
      costs: `float[K, ..., K]`, of all architectures.
      predict: `float32[D, K] -> (value, gradient)`.
      rng: of the logits.
      shape: `(D, K)`.
      temperature: of the softmax.
      draws: how many gates.
      mask: `bool[D, K]`, which options there are.
    """
    cosines, gaps = [], []
    for _ in range(draws):
        weight = probabilities(rng, shape, temperature, mask)
        mean, exact = expectation(costs, weight)
        value, found = predict(weight.astype(np.float32))
        exact, found = by_logits(exact, weight), by_logits(np.asarray(found, float), weight)
        norms = np.linalg.norm(exact) * np.linalg.norm(found)
        cosines.append((exact * found).sum() / norms)
        gaps.append(abs(float(value) / mean - 1))
    return np.mean(cosines), np.mean(gaps)
