"""What is recorded is played by the protocols of its stream and by no others."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import Reason, Refused
from restreamer.seams import Grant
from restreamer.viewers.gate import PasswordGate, ProtocolGate
from test.viewers.test_waiting import request


class ProtocolGateTests(SynchronousTestCase):
    def opened(self, protocols: frozenset[str] | None, proto: str) -> bool:
        gate = ProtocolGate(PasswordGate(lambda name: ""), lambda name: protocols)
        wanted = evolve(request("a"), proto=proto)
        outcome: Deferred[Grant] = Deferred.fromCoroutine(gate.open(wanted))
        if outcome.called and not isinstance(outcome.result, Grant):
            refused = self.failureResultOf(outcome, Refused).value
            assert isinstance(refused, Refused)
            self.assertIs(refused.reason, Reason.DENIED)
            return False
        self.assertIs(self.successResultOf(outcome).request, wanted)
        return True

    def test_words(self) -> None:
        """All; one; the files that HLS and DASH share, MP4 among them."""
        every = ("hls", "dash", "cmaf", "mp4", "tshttp", "rtmp", "rtsp")
        for protocols, granted in (
            (None, set(every)),
            (frozenset(["rtmp"]), {"rtmp"}),
            (frozenset(["mpegts"]), {"tshttp"}),
            (frozenset(["dash"]), {"dash", "cmaf", "mp4"}),
            (frozenset(["hls", "rtsp"]), {"hls", "cmaf", "mp4", "rtsp"}),
        ):
            self.assertEqual({each for each in every if self.opened(protocols, each)}, granted)
