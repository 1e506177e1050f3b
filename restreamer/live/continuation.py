"""The numbers of continuations: who cut the segments of a run, when it was not its ingest node.

A node that goes on with the same content of another run cuts the run's segments itself, by the rule of the
ingest. It comes to the same bytes, but where the ingest ended a segment before its time and this node did not
hear of it. So what it cuts has a number of its own in the envelope of the run, which nodes further down
carry on: of one run, continuation and number there is one segment (docs/m4f.md, section 6.1).
"""

from __future__ import annotations

from hashlib import blake2b


def continuation_of(node_id: bytes, *facts: int) -> int:
    """A number for what a node begins to cut: unsigned, 64 bits, never 0.

    @param node_id: the node, 16 bytes.
    @param facts: what makes it another one than all others of this node: runs, times, numbers.
    """
    digest = blake2b(node_id + repr(facts).encode("ascii"), digest_size=8).digest()
    return int.from_bytes(digest, "big") or 1
