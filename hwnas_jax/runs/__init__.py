"""One run folder: its stages, the step loop, checkpoints and the log."""
