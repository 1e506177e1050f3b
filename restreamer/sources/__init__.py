"""Inputs of a stream other than a publisher: files, pulls."""
