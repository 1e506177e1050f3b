"""What publishers of the simulation send: small frames that say themselves which they are.

The last eight bytes of each frame are the number of its content (one publisher's stay, or several
publishers of one encoder) and its place in it. So whoever sees frames anywhere can tell, without keeping any,
whether one is missing, comes twice or belongs elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Tracks
from restreamer.testing.media import aac_track, h264_track, nal, pattern

#: Pictures a second; audio comes as often.
RATE = 5
STEP = TICKS_PER_SECOND // RATE
_AUDIO_AFTER = 7000
_KINDS = 32

TRACKS: Tracks = (h264_track(), aac_track())
_VIDEO_TRACKS: Tracks = (h264_track(),)

_KEYS = [nal(0x65, index, 300 + 5 * index) for index in range(_KINDS)]
_PICTURES = [nal(0x41, 100 + index, 100 + 3 * index) for index in range(_KINDS)]
_SOUNDS = [b"\x21" + pattern(200 + index, 60 + index) for index in range(_KINDS)]


@define(eq=False)
class Leg:
    """One publisher's share: it has pushed frames C{first} to C{end}, without the last, to a node.

    @ivar host: the node. @ivar alive: whether it still is the same node.
    """

    host: str
    first: int
    end: int
    alive: Callable[[], bool]


@define(eq=False)
class Content:
    """What one encoder makes.

    @ivar number: of the content. @ivar name: of the stream. @ivar gop: pictures from keyframe to keyframe.
    @ivar audio: it has sound. @ivar base: its clock at its beginning, ticks.
    @ivar began: simulated seconds then. @ivar legs: those who have published it so far.
    @ivar pushed_at: when something of it was last pushed.
    """

    number: int
    name: str
    gop: int
    audio: bool
    base: int
    began: float
    legs: list[Leg] = field(factory=list)
    pushed_at: float = 0.0

    @property
    def tracks(self) -> Tracks:
        """Its tracks."""
        return TRACKS if self.audio else _VIDEO_TRACKS

    @property
    def per_picture(self) -> int:
        """Frames of a picture's time."""
        return 2 if self.audio else 1

    @property
    def published(self) -> int:
        """Frames pushed so far, where most were."""
        return max((leg.end for leg in self.legs), default=0)

    def due(self, now: float) -> int:
        """Frames that exist at C{now}."""
        return (int((now - self.began) * RATE + 1e-6) + 1) * self.per_picture

    def age(self, place: int, now: float) -> float:
        """Seconds by which a source's window has moved on since the frame was pushed."""
        return self.seconds(self.published - place) + now - self.pushed_at

    def next_key(self, now: float) -> int:
        """Place of the first keyframe that is not older than C{now}."""
        if now <= self.began:
            return 0
        keys = -(-self.due(now) // self.per_picture // self.gop)
        return keys * self.gop * self.per_picture

    def everywhere(self, place: int) -> bool:
        """Whether every node that takes the content, or took it and is still there, has taken the frame."""
        alive = [leg for leg in self.legs if leg.alive()]
        return bool(alive) and all(leg.first <= place < leg.end for leg in alive)

    def seconds(self, frames: int) -> float:
        """How long C{frames} last."""
        return frames / self.per_picture / RATE

    def time(self, place: int) -> int:
        """DTS of a frame on the encoder's clock."""
        picture, sound = divmod(place, self.per_picture)
        return self.base + picture * STEP + (_AUDIO_AFTER if sound else 0)

    def frames(self, first: int, end: int) -> list[Frame]:
        """Frames C{first} to C{end}, without the last, on the encoder's clock."""
        made = []
        head = self.number << 32
        for place in range(first, end):
            picture, sound = divmod(place, self.per_picture)
            dts = self.base + picture * STEP
            code = (head | place).to_bytes(8, "big")
            if sound:
                made.append(Frame(2, dts + _AUDIO_AFTER, 0, True, _SOUNDS[place % _KINDS] + code))
                continue
            key = picture % self.gop == 0
            kinds = _KEYS if key else _PICTURES
            cts = STEP if key or picture % 3 == 0 else 0
            made.append(Frame(1, dts, cts, key, kinds[(place + self.number) % _KINDS] + code))
        return made


def code_of(frame: Frame) -> tuple[int, int]:
    """Number of the content and place of the frame in it."""
    code = int.from_bytes(frame.data[-8:], "big")
    return code >> 32, code & 0xFFFFFFFF
