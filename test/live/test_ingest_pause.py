"""Nothing comes for a while, because the node or the way to it stood still, and then all of it at once."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from test.cluster.splicing import IngestNode
from test.live.rig import av

_FRAMES = av(24, gop=25)


class PauseTests(SynchronousTestCase):
    """Segments end where they end without the pause: frames decide that, not when they come."""

    def test_what_comes_late_is_cut_the_same(self) -> None:
        for begin, end in ((200, 1000), (310, 1110), (415, 1215)):
            steady, paused = IngestNode("a", 100), IngestNode("b", 100)
            for index, frame in enumerate(_FRAMES):
                steady.push(frame)
                if begin <= index < end:
                    continue
                if index == end:
                    paused.now = steady.now
                    for held in _FRAMES[begin:end]:
                        paused.ingest.push([held])
                paused.push(frame)
            self.assertGreater(_FRAMES[end].dts - _FRAMES[begin].dts, 9 * 90_000)
            self.assertEqual(sorted(paused.closed), sorted(steady.closed))
            for number, encoded in steady.closed.items():
                self.assertTrue(paused.closed[number] == encoded, (begin, number))
            self.assertEqual(paused.ingest.counters.forced, 0)
