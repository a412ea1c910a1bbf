"""`python -m hwnas_jax` is the command `hwnas`."""

import sys

from hwnas_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
