"""What a URL asks of an archive: one value for every protocol (pure).

    archive-FROM-DUR  video-FROM-DUR  index-FROM-DUR  mono-FROM-DUR    a closed range
    archive-FROM-now                                                   from FROM on, growing
    rewind-SEC                                                         the last SEC seconds, sliding
    timeshift_abs-FROM                                                 endless, from FROM on
    timeshift_rel-SEC                                                  the stream SEC seconds late

followed by C{.m3u8}, C{.ts.m3u8}, C{.fmp4.m3u8}, C{.mpd}, C{.ts} or C{.mp4}; the last three rows also behind
C{video-}, C{mono-}, C{index-} or another name of a live playlist, as players make them of live URLs; media
playlists of chosen tracks in their folder (C{tracks-v1a1/mono-rewind-60.ts.m3u8}). Older forms:
C{archive/FROM/DUR/mpegts}, C{timeshift_abs/FROM}, C{timeshift_rel/SEC}. Behind live addresses:
C{?utc=FROM&lutc=NOW}.

Times are whole seconds since the Unix epoch. Nothing here costs more for a longer range.
"""

from __future__ import annotations

import enum
import re
from typing import Final

from attrs import evolve, frozen

from restreamer.errors import Reason, Refused
from restreamer.http1.play_request import FILTER_TRACKS, query_value
from restreamer.media.names import check_stream_name, valid_stream_name
from restreamer.media.selection import TrackSelection
from restreamer.media.timebase import TICKS_PER_SECOND

#: Seconds a playlist or a manifest reaches at most.
MAX_PLAYLIST: Final = 7 * 86_400
#: Seconds of any range; what is longer is a mistake.
MAX_RANGE: Final = 366 * 86_400
#: How far ahead of now a range may begin, seconds: clocks differ, and a programme guide knows tomorrow.
MAX_AHEAD: Final = 86_400
#: Of a programme that is asked for by C{utc} and C{lutc} this much is given at most, seconds.
MAX_SHOW: Final = 14_400


class Kind(enum.Enum):
    """What is asked for."""

    FIXED = "archive"
    EVENT = "event"
    REWIND = "rewind"
    ABSOLUTE = "timeshift_abs"
    RELATIVE = "timeshift_rel"


class Container(enum.Enum):
    """The form of the answer."""

    HLS = "m3u8"
    DASH = "mpd"
    TS = "ts"
    MP4 = "mp4"


@frozen(kw_only=True)
class ArchiveAsk:
    """What of an archive somebody wants.

    @ivar name: of the stream, checked. @ivar kind: see L{Kind}.
    @ivar start: FROM, Unix seconds; of L{Kind.REWIND} and L{Kind.RELATIVE} the seconds back.
    @ivar duration: seconds of L{Kind.FIXED}; else None.
    @ivar container: the form of the answer; @ivar packaging: of HLS: C{ts}, C{fmp4}, or empty: what suits.
    @ivar whole: one media playlist of all tracks, no master (C{video-}, C{mono-}).
    @ivar inside: it stands in the folder of the tracks of C{selection}.
    @ivar selection: tracks wanted; None: all. @ivar paced: send a body no faster than it plays.
    """

    name: str
    kind: Kind
    start: int
    duration: int | None = None
    container: Container = Container.HLS
    packaging: str = ""
    whole: bool = False
    inside: bool = False
    selection: TrackSelection | None = None
    paced: bool = False

    @property
    def words(self) -> str:
        """The kind and its times as they stand in a file name: C{archive-1700000000-60}."""
        if self.kind is Kind.FIXED:
            return f"archive-{self.start}-{self.duration}"
        if self.kind is Kind.EVENT:
            return f"archive-{self.start}-now"
        return f"{self.kind.value}-{self.start}"


@frozen
class Range:
    """What an ask means at one moment; Unix seconds.

    @ivar start, end: the range; C{end} may lie in the future while it is not C{closed}.
    @ivar closed: nothing is added to it any more, but for what is on its way.
    @ivar sliding: its beginning moves on, too.
    """

    start: int
    end: int
    closed: bool
    sliding: bool


_SECONDS: Final = re.compile(r"[0-9]{1,11}")
#: Names of live playlists, behind which players put a mode; the first part says what kind of list it is.
_PREFIX: Final = r"(?:(index|playlist|master|video|mono|archive)(?:\.(ts|fmp4|ll))?-)?"
_MODE: Final = re.compile(_PREFIX + r"(archive|rewind|timeshift_abs|timeshift_rel)-(.+)")
_PLAIN: Final = re.compile(r"(index|playlist|master|video|mono)(?:\.(ts|fmp4|ll))?-([-+0-9.][^/]*)")
_FILE: Final = re.compile(r"(.+?)(?:\.(ts|fmp4)(?=\.m3u8$))?\.(m3u8|mpd|ts|mp4)")
_FOLDER: Final = re.compile(r"tracks-((?:[va][1-9][0-9]?){1,32})")
_OLD: Final = re.compile(
    r"/(.+)/(?:(archive)/([^/]+)/([^/]+)/mpegts|(timeshift_abs|timeshift_rel)/([^/]+))",
)
#: Live addresses that take C{utc}: container, packaging, whole.
_LIVE: Final[dict[str, tuple[Container, str, bool]]] = {
    "index.m3u8": (Container.HLS, "", False),
    "playlist.m3u8": (Container.HLS, "", False),
    "master.m3u8": (Container.HLS, "", False),
    "index.ts.m3u8": (Container.HLS, "ts", False),
    "index.fmp4.m3u8": (Container.HLS, "fmp4", False),
    "index.ll.m3u8": (Container.HLS, "fmp4", False),
    "video.m3u8": (Container.HLS, "ts", True),
    "mono.m3u8": (Container.HLS, "ts", True),
    "index.mpd": (Container.DASH, "", False),
    "mpegts": (Container.TS, "", False),
}


def parse_archive_path(path: str, query: str, now: int) -> ArchiveAsk | None:
    """What a request asks of an archive; None when it is about something else.

    @param path: of the request; @param query: raw; @param now: Unix seconds.
    @raise Refused: BAD_NAME (400): it is about an archive, and cannot be meant so.
    """
    name, _, file = path[1:].rpartition("/")
    if not name or len(path) > 2048:
        return None
    ask = None
    if "-" in file:
        ask = _of_file(name, file)
    elif "utc=" in query and file in _LIVE:
        ask = _of_query(name, file, query, now)
    if ask is None and ("/archive/" in path or "/timeshift_" in path):
        ask = _of_old(path)
    if ask is None:
        return None
    check_times(ask, now)
    if query and ask.selection is None:
        ask = evolve(ask, selection=_selection(query))
    return ask


def asked_name(path: str) -> str:
    """The stream that C{path} would be about if it were about an archive, not checked."""
    name = path[1:].rpartition("/")[0]
    stream, _, folder = name.rpartition("/")
    return stream if stream and _FOLDER.fullmatch(folder) else name


def check_times(ask: ArchiveAsk, now: int) -> None:
    """Whether the times of C{ask} can be meant.

    @raise Refused: BAD_NAME: they begin more than L{MAX_AHEAD} after C{now}, or last nothing or more than
        L{MAX_RANGE}.
    """
    if ask.kind in (Kind.REWIND, Kind.RELATIVE):
        if ask.start > now:
            raise _refused(f"{ask.start} seconds back is before 1970")
        if not ask.start and ask.kind is Kind.REWIND:
            raise _refused("it reaches back 1 second at least")
    elif ask.start > now + MAX_AHEAD:
        raise _refused("it begins more than a day from now")
    elif ask.kind is Kind.ABSOLUTE and ask.start > now:
        raise _refused("it begins in the future")
    if ask.duration is not None and not 1 <= ask.duration <= MAX_RANGE:
        raise _refused(f"a range lasts 1 to {MAX_RANGE} seconds")


def range_of(ask: ArchiveAsk, now: int, longest: int = MAX_PLAYLIST) -> Range:
    """The range that C{ask} means at C{now}, Unix seconds.

    L{Kind.ABSOLUTE} and L{Kind.RELATIVE} mean the moment that is played: their range ends there.
    @param longest: seconds it may reach.
    @raise Refused: BAD_NAME: it reaches further.
    """
    if ask.kind is Kind.FIXED:
        end = ask.start + (ask.duration or 0)
        found = Range(ask.start, end, end <= now, False)
    elif ask.kind is Kind.EVENT:
        found = Range(ask.start, max(now, ask.start) + 1, False, False)
    elif ask.kind is Kind.REWIND:
        found = Range(now - ask.start, now + 1, False, True)
    else:
        moment = ask.start if ask.kind is Kind.ABSOLUTE else now - ask.start
        return Range(moment, moment, False, True)
    if found.end - found.start > longest + 1:
        raise _refused(f"{found.end - found.start} seconds are more than {longest} at a time: ask for parts")
    return found


def span_of(ask: ArchiveAsk, now: int) -> tuple[int, int]:
    """All that C{ask} can give when it is asked at C{now}, in UTC ticks, for the gate."""
    if ask.kind is Kind.FIXED:
        start, end = ask.start, ask.start + (ask.duration or 0)
    else:
        start = now - ask.start if ask.kind in (Kind.REWIND, Kind.RELATIVE) else ask.start
        end = max(now, start)
    return start * TICKS_PER_SECOND, end * TICKS_PER_SECOND


def delayed(ask: ArchiveAsk, now: int) -> ArchiveAsk:
    """L{Kind.ABSOLUTE} as L{Kind.RELATIVE}: what it means when it is read at C{now}."""
    return evolve(ask, kind=Kind.RELATIVE, start=max(0, now - ask.start))


def ask_from_query(name: str, query: str, now: int, container: Container = Container.TS) -> ArchiveAsk | None:
    """C{?from=} (or C{utc}), with C{duration} or C{to} for a closed range, of protocols without files.

    @param name: of the stream, checked. @return: None without such a word.
    @raise Refused: BAD_NAME.
    """
    text = query_value(query, "from") or query_value(query, "utc")
    if not text:
        return None
    start = _seconds(text, "from")
    kind, duration = Kind.ABSOLUTE, None
    if length := query_value(query, "duration"):
        kind, duration = Kind.FIXED, _seconds(length, "duration")
    elif (to := query_value(query, "to")) and to != "now":
        kind, duration = Kind.FIXED, _seconds(to, "to") - start
    ask = ArchiveAsk(
        name=name, kind=kind, start=start, duration=duration, container=container, selection=_selection(query)
    )
    check_times(ask, now)
    return ask


# Inside.


def _of_file(name: str, file: str) -> ArchiveAsk | None:
    """C{file} of stream C{name}, or of a folder of its tracks."""
    match = _FILE.fullmatch(file)
    if match is None:
        return None
    words, packaging, ending = match.groups()
    if mode := _MODE.fullmatch(words):
        prefix, word, kind, times = mode.groups()
    elif plain := _PLAIN.fullmatch(words):
        prefix, word, times = plain.groups()
        kind = "archive"
    else:
        return None
    container = Container(ending)
    selection = None
    stream, _, folder = name.rpartition("/")
    if stream and (of_tracks := _FOLDER.fullmatch(folder)) and container is Container.HLS:
        selection, name = TrackSelection.parse(of_tracks[1]), stream
    if not valid_stream_name(name):
        check_stream_name(name)
    start, duration, event = _times(kind, times)
    return ArchiveAsk(
        name=name,
        kind=Kind.EVENT if event else Kind(kind),
        start=start,
        duration=duration,
        container=container,
        packaging=packaging or {"ll": "fmp4"}.get(word or "", word or ""),
        whole=prefix in ("video", "mono") or selection is not None,
        inside=selection is not None,
        selection=selection,
    )


def _times(kind: str, text: str) -> tuple[int, int | None, bool]:
    """Start, duration, and whether it is an event."""
    if kind != "archive":
        return _seconds(text, "SEC" if kind != "timeshift_abs" else "FROM"), None, False
    first, dash, second = text.partition("-")
    if not first and dash:
        raise _refused("times are not negative")
    if not dash:
        raise _refused("a range is FROM-DURATION or FROM-now")
    start = _seconds(first, "FROM")
    if second == "now":
        return start, None, True
    return start, _seconds(second, "DURATION"), False


def _of_old(path: str) -> ArchiveAsk | None:
    match = _OLD.fullmatch(path)
    if match is None:
        return None
    name, archive, start, length, mode, seconds = match.groups()
    check_stream_name(name)
    if archive:
        return ArchiveAsk(
            name=name,
            kind=Kind.FIXED,
            start=_seconds(start, "FROM"),
            duration=_seconds(length, "DURATION"),
            container=Container.TS,
            paced=True,
        )
    return ArchiveAsk(name=name, kind=Kind(mode), start=_seconds(seconds, "it"), container=Container.TS)


def _of_query(name: str, file: str, query: str, now: int) -> ArchiveAsk | None:
    """C{?utc=FROM&lutc=NOW}: from FROM until now, or the whole of a show that is over.

    C{lutc} is the viewer's clock, so a show that is not over yet begins less than L{MAX_SHOW} before it.
    """
    text = query_value(query, "utc")
    if not text:
        return None
    check_stream_name(name)
    start = _seconds(text, "utc")
    told = query_value(query, "lutc")
    until = min(_seconds(told, "lutc"), now) if told else now
    container, packaging, whole = _LIVE[file]
    if container is Container.TS:
        return ArchiveAsk(name=name, kind=Kind.ABSOLUTE, start=start, container=container)
    over = until - start > MAX_SHOW
    return ArchiveAsk(
        name=name,
        kind=Kind.FIXED if over else Kind.EVENT,
        start=start,
        duration=MAX_SHOW if over else None,
        container=container,
        packaging=packaging,
        whole=whole,
    )


def _selection(query: str) -> TrackSelection | None:
    text = query_value(query, FILTER_TRACKS)
    if not text:
        return None
    selection = TrackSelection.parse(text)
    if selection is None:
        raise _refused(f"{FILTER_TRACKS} is v or a with a number, once or more: v1a2")
    return selection


def _seconds(text: str, what: str) -> int:
    if not _SECONDS.fullmatch(text) or not text.isascii():
        raise _refused(f"{what} is a whole number of seconds, in digits")
    return int(text)


def _refused(text: str) -> Refused:
    return Refused(Reason.BAD_NAME, text)
