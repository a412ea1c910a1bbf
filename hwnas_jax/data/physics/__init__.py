"""Data sets that are solutions of differential equations, computed here."""
