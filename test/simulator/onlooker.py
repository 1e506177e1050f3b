"""A viewer who watches a stream on a node from its first frame on, and knows what he should see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from restreamer.live.stream import Stream
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Track, Tracks
from test.simulator.content import Content, code_of

if TYPE_CHECKING:
    from test.simulator.node import SimNode

#: So much of a content must be held here and there for it to be recognised, seconds.
RECOGNISED_SECONDS = 5.0
#: A run whose time is so much earlier than what was shown is another clock; viewers are told of it.
_FAR_BELOW = 29 * TICKS_PER_SECOND


class Onlooker:
    """Stands where the muxer of a container stands: a L{restreamer.seams.FeedMuxer}.

    @ivar content, @ivar place: of the newest frame; -1 before the first.
    """

    __slots__ = (
        "_away", "_begun_at", "_begun_run", "_dts", "_node", "_past", "_run_id", "_stream",
        "content", "place",
    )  # fmt: skip

    def __init__(self, node: SimNode, stream: Stream) -> None:
        self.content = -1
        self.place = -1
        self._node = node
        self._stream = stream
        self._dts: dict[int, int] = {}
        self._past: dict[tuple[int, int], int] = {}
        self._run_id = -1
        self._away = 0
        self._begun_at = 0
        self._begun_run = -1

    def run_began(self) -> None:
        """Another run takes over: what follows begins with a keyframe."""
        self._away += 1

    by_viewers = True

    def carries(self, track: Track) -> bool:
        """It looks at everything."""
        return True

    def configure(self, tracks: Tracks, run_start: int, discontinuity: bool) -> None:
        """See L{restreamer.seams.FeedMuxer}."""

    def farewell(self, tracks: Tracks) -> bytes | None:
        """See L{restreamer.seams.FeedMuxer}."""
        return None

    def join_prefix(self) -> bytes:
        """See L{restreamer.seams.FeedMuxer}."""
        return b""

    def skip_prefix(self) -> bytes:
        """See L{restreamer.seams.FeedMuxer}."""
        return b""

    def mux(self, frame: Frame) -> bytes:
        """One more frame is shown: DTS rise; frames of one content are consecutive."""
        code = int.from_bytes(frame.data[-8:], "big")
        content, place = code >> 32, code & 0xFFFFFFFF
        run = self._stream.run
        run_id = run.run_id if run is not None else -1
        self._node.world.journal.saw(self._node.index, code)
        if content != self.content or place != self.place + 1 or run_id != self._run_id:
            self._jump(content, place, run_id)
        newest = self._dts
        before = newest.get(frame.track_id)
        if before is not None and frame.dts <= before and not frame.dts < before - _FAR_BELOW:
            text = f"track {frame.track_id}: {frame.dts} after {before}, {code_of(frame)}"
            self._violated("rising DTS", text)
        newest[frame.track_id] = frame.dts
        self.content = content
        self.place = place
        return b""

    def _violated(self, invariant: str, text: str) -> None:
        self._node.world.journal.violated(invariant, f"{self._node.name} {self._stream.name}: {text}")

    def _jump(self, content: int, place: int, run_id: int) -> None:
        """This frame is not the next one of its content, or is of another run."""
        world = self._node.world
        old, last = self.content, self.place
        what = world.contents.get(content)
        if what is None or what.name != self._stream.name:
            self._violated("whose frames", f"a frame of content {content}, which is not of this stream")
            return
        same = old == content and run_id == self._run_id
        away, self._away = self._away, 0
        if same and not (away and place > last):
            self._hole(what, last, place)
            return
        self._run_id = run_id
        host = world.ids.get(self._ingest(), "?")
        world.journal.note(
            f"{self._node.name} {what.name}: content {content} of {host} from {place} after {old}:{last}"
        )
        if same:
            # Another run took over for a moment, nothing of it was shown: this one is back at a keyframe.
            return
        if old == content:
            # When yet another run took over between, it is that one that this is compared with.
            if away < 2 and self._overlap(what, last, host) >= RECOGNISED_SECONDS:
                self._violated("same content", f"frames of content {content} were taken for other ones")
        elif old >= 0:
            self._past[old, self._begun_run] = last
        if place <= self._past.get((content, run_id), -1):
            self._violated("contiguous frames", f"frame {place} of content {content} once more")
        self._begun_at = place
        self._begun_run = run_id

    def _hole(self, what: Content, last: int, place: int) -> None:
        """Frame C{place} follows C{last}."""
        world = self._node.world
        if place <= last:
            self._violated("contiguous frames", f"frame {place} of content {what.number} after {last}")
            return
        age = what.age(last + 1, world.now)
        missing = f"frames {last + 1} to {place - 1} of content {what.number} are missing"
        world.journal.note(f"{self._node.name} {what.name}: {missing}, the first {age:.1f} s old")
        if age < world.covered_seconds and what.everywhere(last + 1) and not self._unknown(what, last + 1):
            self._violated("contiguous frames", f"{missing}, though the first is {age:.1f} s old")

    def _unknown(self, what: Content, place: int) -> bool:
        """Whether a node that this one takes the run from has it only from behind C{place} on."""
        world = self._node.world
        run = self._stream.run
        for node_id in run.path[:-1] if run is not None else ():
            source = world.up.get(world.ids.get(node_id, ""))
            watch = source.watches.get(self._stream.name) if source is not None else None
            if watch is not None and run is not None:
                number, first = watch.first.get(run.run_id, (-1, 0))
                if number == what.number and first > place:
                    return True
        return False

    def _ingest(self) -> bytes:
        """Where the frames come in: the id of the first node of their way."""
        run = self._stream.run
        return run.path[0] if run is not None else b""

    def _overlap(self, what: Content, last: int, host: str) -> float:
        """Seconds of the content that were shown and that the run that follows has, too, in every window."""
        if what.age(last, self._node.world.now) > self._node.world.covered_seconds - RECOGNISED_SECONDS / 2:
            return 0.0
        first = next((leg.first for leg in reversed(what.legs) if leg.host == host and leg.alive()), last)
        return what.seconds(last - max(first, self._begun_at))
