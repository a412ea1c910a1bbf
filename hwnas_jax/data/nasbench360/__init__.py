"""The ten tasks of NAS-Bench-360: what they are, and readers of their published files.

The file formats were taken from the loaders in the repositories rtu715/NAS-Bench-360 and
sjunhongshen/DASH. Pickles are read so that nothing in them can run.
"""
