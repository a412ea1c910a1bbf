"""Data of the user's own: arrays, image folders, tables of images, idx files.

A source here reads files into raw arrays by part ("train", "validation", "test"). `parts` makes a
`Dataset` of them, in the same way for all sources: `inputs` settles the axes and the type of the
inputs, `targets` what is to be learned. What is doubtful is refused with what would settle it, and
what was done beyond reading becomes a note of the data set.
"""
