"""The configuration file: grammar, typed model, checks, differences."""
