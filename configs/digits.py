"""Digits (scikit-learn, 8x8, 10 classes), built in: small and quick.

    hwnas search digits

About 2 min 18 s on 2 CPU cores with a cold compilation cache, all controls included. Seed 0: test
accuracy 99.2 %, measured latency 2.2 % below the target; networks derived without a search and
those with the most operations under the same target: 99.2 %. On this set most networks of the
budget do well, and the report says that no difference is seen.
"""

from hwnas_jax.config import Config, DeriveConfig, Part

config = Config(derive=DeriveConfig(rule=Part("halving", {"steps": 150})))
