"""The forms of operations that are fast on the backend in use."""
