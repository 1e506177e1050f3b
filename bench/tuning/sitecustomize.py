"""Read by every Python of a node that is measured, its workers too, as this folder is in their PYTHONPATH.

C{BENCH_FLUSH}: milliseconds between two flushes, whatever the number of viewers; the program has no word for
what only a measurement wants.
"""

import os

if os.environ.get("BENCH_FLUSH"):
    from restreamer.live import feed

    setattr(feed, "CADENCES", ((1 << 62, float(os.environ["BENCH_FLUSH"]) / 1000),))  # noqa: B010
