"""Measurement files, and readers of what others publish."""
