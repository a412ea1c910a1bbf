"""Measuring: profiles, timing, drift, energy, runtimes."""
