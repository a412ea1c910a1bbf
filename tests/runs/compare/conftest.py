"""A made-up table and a finished comparison on it, made once for all tests."""

import pytest

import hwnas_jax as hw
from tests.runs.compare.studies import settings, write_tables


@pytest.fixture(scope="session")
def tables(once):
    return once("test_compare-tables", write_tables)


@pytest.fixture(scope="session")
def folder(once, tables):
    """A finished comparison."""
    made = once("test_compare-study", lambda own: hw.compare(settings(tables), own / "study"))
    return made / "study"
