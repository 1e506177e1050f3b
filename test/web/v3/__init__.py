"""Tests of L{restreamer.web.v3}."""
