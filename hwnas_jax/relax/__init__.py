"""How a choice becomes differentiable."""
