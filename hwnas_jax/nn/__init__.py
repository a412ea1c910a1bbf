"""Building blocks as Flax NNX modules."""
