"""Restreamer: an open cluster restreamer for live video on Twisted."""

__version__ = "0.1.0"
