"""How good an architecture is."""
