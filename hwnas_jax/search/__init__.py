"""How an architecture is found."""
