"""What continuous outputs leave out after a run took over."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from restreamer.live.resume import Resumption, newest_by_kind
from restreamer.media.frame import Frame
from test.live.rig import av
from test.live.test_feed import *  # noqa: F403

VIDEO = frozenset({1})
SECOND = 90_000
