"""The core: registry, streams, the segment cutter, the live window and the fan-out of feeds."""
