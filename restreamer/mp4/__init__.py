"""MP4 (ISO/IEC 14496-12): reading files as frames (pure)."""
