"""Files that people keep.

A file is written whole or not at all, and one that is damaged is refused with a message that says
what is wrong. What can be made again lies in the cache folder.
"""
