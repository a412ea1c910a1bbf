"""How good a cost model is: scores, gradients, comparisons on tables."""
