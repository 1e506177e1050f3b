"""Tests of L{restreamer.sessions}."""
