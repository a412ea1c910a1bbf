"""How good a cost model is."""
