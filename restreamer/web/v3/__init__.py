"""The HTTP API, version 3: what it offers, and what describes it."""
