"""Tests of L{restreamer.journal}."""
