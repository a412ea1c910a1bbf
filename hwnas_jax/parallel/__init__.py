"""Devices, replicas and processes: the only room that knows about them."""
