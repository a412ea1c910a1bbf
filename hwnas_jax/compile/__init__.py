"""Programs compiled ahead of time: what they need, what they hold, and for which chips."""
