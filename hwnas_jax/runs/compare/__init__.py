"""Search methods compared on a table of trained networks, many seeds each, by one budget."""
