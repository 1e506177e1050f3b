"""Coverage-guided fuzzing of everything that reads bytes of strangers: C{python -m test.fuzz}."""
