"""The HTTP front that carries media, and the pages and API behind it."""
