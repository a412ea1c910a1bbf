"""Regularised evolution in plain Python, as slow and as clear as can be."""

import collections


def evolve(rng, widths, score_of, evaluations, *, population=10, sample=3):
    """Returns the architectures evaluated, in order, and their scores.

    Args:
      rng: a `random.Random`.
      widths: how many options each decision has.
      score_of: `tuple of options -> float`, higher is better.
      evaluations: how many architectures are evaluated.
      population: places of the queue.
      sample: members drawn for each parent.
    """
    queue = collections.deque()
    asked, scores = [], []
    for _ in range(evaluations):
        if len(queue) < population:
            child = tuple(rng.randrange(width) for width in widths)
        else:
            drawn = [rng.choice(queue) for _ in range(sample)]
            _, parent = max(drawn, key=lambda member: member[0])
            decision = rng.randrange(len(widths))
            others = [o for o in range(widths[decision]) if o != parent[decision]]
            child = (*parent[:decision], rng.choice(others), *parent[decision + 1 :])
            queue.popleft()
        score = score_of(child)
        queue.append((score, child))
        asked.append(child)
        scores.append(score)
    return asked, scores
