"""The archive: closed segments kept on disk, found again by time and number, here and at the sources."""
