"""Digits (scikit-learn, 8x8): the built-in search.

hwnas search digits
"""

from hwnas_jax.config import Config

config = Config()
