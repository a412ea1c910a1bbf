"""From what a search found to networks in order."""
