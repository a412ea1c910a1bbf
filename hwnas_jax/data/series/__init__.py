"""Sequences: made by known equations, whose best classifier is known, or read from an archive."""
