"""Costs without the device: the TPU compiler, accelerator simulators, live memory."""
