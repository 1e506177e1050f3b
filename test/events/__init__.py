"""Tests of L{restreamer.events}."""
