"""Values every layer shares: frames, tracks, times, names and the facts of each codec (pure)."""
