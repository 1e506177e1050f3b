"""M4F: the canonical segment bytes and the records of a link between two nodes (pure)."""
