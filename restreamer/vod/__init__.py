"""Media files on request: a file as a sequence of segments, the same on every node."""
