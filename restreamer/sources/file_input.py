"""Plays an MP4 file into a stream as if it came live, round and round.

The disk is read in a thread, a second or two ahead; frames leave at the moment their DTS falls due on a
monotonic clock. Times go on rising over the end of the file, so a sink sees one endless stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from restreamer.errors import RestreamerError
from restreamer.logs import Logger
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.seams import FrameSink
from restreamer.sources.file_play import FilePlay

#: Media kept read ahead: ticks below which the next slice is fetched.
READ_AHEAD = TICKS_PER_SECOND * 3 // 2
#: Bytes read ahead above which no slice is fetched, however little time they last.
READ_AHEAD_BYTES = 16 * 1024 * 1024
#: Frames due within this many ticks leave together: one wake-up instead of two.
TOGETHER = TICKS_PER_SECOND // 200
#: Frames of one turn of the reactor; when more are due (after a stall) they follow in the next turns.
BURST = 100
#: Seconds behind real time that are caught up; what is further behind is played later instead.
MAX_BEHIND = 5.0

_log = Logger()


class FileInput:
    """One file playing into one sink; the sink is ended exactly once, whatever happens."""

    def __init__(
        self,
        path_opener: Callable[[], int],
        sink: FrameSink,
        clock: IReactorTime,
        in_thread: Callable[..., Deferred[Any]],
        failed: Callable[[str], None],
        loop: bool = True,
    ) -> None:
        """Prepare; nothing is opened before L{start}.

        @param path_opener: opens the file and gives its descriptor; called in a thread.
        @param clock: its C{seconds} is monotonic.
        @param in_thread: C{in_thread(f, *args)} runs C{f} in a thread, as
            C{twisted.internet.threads.deferToThread} does.
        @param failed: called at most once, with one sentence, when the file cannot be played (any more); the
            sink has been ended then. The owner may make a new input and try again.
        @param loop: play for ever; otherwise once.
        """
        self._opener = path_opener
        self._sink = sink
        self._clock = clock
        self._in_thread = in_thread
        self._failed = failed
        self._loop = loop
        self._play: FilePlay | None = None
        self._ready: deque[Frame] = deque()
        self._ready_bytes = 0
        self._playing = False
        self._origin = 0.0
        self._hold_until = 0.0
        self._timer: IDelayedCall | None = None
        self._busy = False
        self._work: Deferred[None] = succeed(None)
        self._started = False
        self._read_all = False
        self._over = False
        self._waiting: list[Deferred[None]] = []

    def start(self) -> None:
        """Open the file and play. A file input is started once."""
        if self._started or self._over:
            return
        self._started = True
        self._work = Deferred.fromCoroutine(self._supervised(self._open))

    def stop(self) -> Deferred[None]:
        """Send nothing more, end the sink and close the file. Idempotent.

        @return: fires when the file is closed (a read that is under way is waited for).
        """
        self._finish("stopped")
        if not self._busy and self._play is None:
            return succeed(None)
        closed: Deferred[None] = Deferred()
        self._waiting.append(closed)
        return closed

    async def _supervised(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do one blocking piece of work and what follows from it; any error ends the input."""
        try:
            await work()
        except Exception:
            self._broken(Failure())
        if self._over:
            self._close()

    async def _blocking(self, call: Callable[..., Any], *args: Any) -> Any:
        """Call something in a thread; while it runs nothing else touches the file."""
        self._busy = True
        try:
            return await self._in_thread(call, *args)
        finally:
            self._busy = False

    async def _open(self) -> None:
        self._play = play = await self._blocking(FilePlay, self._opener, self._loop)
        if self._over:
            return
        if play.skipped:
            _log.warn("tracks of codecs that are not carried are left out: {codecs}", codecs=play.skipped)
        self._sink.configure(play.tracks)
        self._fetch()

    def _fetch(self) -> None:
        """Read the next slice when too little lies ready and nobody is reading."""
        ready = self._ready
        if self._busy or self._over or self._read_all:
            return
        if ready and (ready[-1].dts - ready[0].dts >= READ_AHEAD or self._ready_bytes >= READ_AHEAD_BYTES):
            return
        self._work = Deferred.fromCoroutine(self._supervised(self._read))

    async def _read(self) -> None:
        if self._play is None:
            return
        frames: list[Frame] = await self._blocking(self._play.read)
        if self._over:
            return
        self._read_all = not frames
        self._ready.extend(frames)
        self._ready_bytes += sum(len(frame.data) for frame in frames)
        if not self._playing:
            self._playing = True
            self._origin = self._clock.seconds()
        if self._timer is None:
            self._send_due()
        else:
            self._fetch()

    def _wake(self) -> None:
        self._timer = None
        try:
            self._send_due()
        except Exception:
            self._broken(Failure())

    def _send_due(self) -> None:
        """Send what is due and sleep until the next frame is."""
        ready = self._ready
        now = self._clock.seconds()
        if ready and now >= self._hold_until:
            due = self._due(now)
            batch: list[Frame] = []
            while ready and ready[0].dts <= due and len(batch) < BURST:
                frame = ready.popleft()
                self._ready_bytes -= len(frame.data)
                batch.append(frame)
            if batch:
                self._hold_until = now + self._sink.push(batch)
        self._fetch()
        # The sink may have stopped us, and a thread that answered at once has put us to sleep already.
        if self._over or self._timer is not None:
            return
        if ready:
            moment = max(self._origin + ready[0].dts / TICKS_PER_SECOND, self._hold_until)
            self._timer = self._clock.callLater(max(0.0, moment - self._clock.seconds()), self._wake)
        elif self._read_all:
            self._finish("end of file")

    def _due(self, now: float) -> int:
        """The tick up to which frames are due at C{now}; moves the origin when we are too far behind."""
        behind = now - self._origin - self._ready[0].dts / TICKS_PER_SECOND
        if behind > MAX_BEHIND:
            _log.warn("a file input is {behind:.1f} s behind real time: going on from here", behind=behind)
            self._origin += behind
        return int((now - self._origin) * TICKS_PER_SECOND) + TOGETHER

    def _broken(self, failure: Failure) -> None:
        """End with an error (called from an except clause)."""
        if isinstance(failure.value, RestreamerError | OSError):
            reason = str(failure.value)
        else:
            _log.failure("a file input failed", failure)
            reason = "internal error"
        if not self._over:
            self._finish(reason)
            self._failed(reason)

    def _finish(self, reason: str) -> None:
        """Send nothing more; close the file now or when the thread is done with it."""
        if self._over:
            return
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._ready.clear()
        self._ready_bytes = 0
        self._sink.end(reason)
        self._close()

    def _close(self) -> None:
        if self._busy:
            return
        play, self._play = self._play, None
        if play is not None:
            play.close()
        waiting, self._waiting = self._waiting, []
        for closed in waiting:
            closed.callback(None)
