"""How the hardware enters a search."""
