"""Makes tables of one's own: networks of a space, trained on one's own data and measured."""

from hwnas_jax.tabular.make.table import TableSettings, make_table

__all__ = ["TableSettings", "make_table"]
