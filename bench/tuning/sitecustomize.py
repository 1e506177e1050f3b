"""Read by every Python of a node that is measured, its workers too, as this folder is in their PYTHONPATH.

C{BENCH_FLUSH}: milliseconds between two flushes, whatever the number of viewers; the program has no word for
what only a measurement wants. C{BENCH_DATAGRAMS}: how many go with one system call at most; who looks at what
this machine sends sees several as one.
"""

import os

if os.environ.get("BENCH_FLUSH"):
    from restreamer.live import feed

    setattr(feed, "CADENCES", ((1 << 62, float(os.environ["BENCH_FLUSH"]) / 1000),))  # noqa: B010

if os.environ.get("BENCH_DATAGRAMS"):
    from restreamer.rtsp import datagram_burst

    setattr(datagram_burst, "MOST", int(os.environ["BENCH_DATAGRAMS"]))  # noqa: B010
