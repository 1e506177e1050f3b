"""What an RTSP URL asks for: a stream, and perhaps one of its tracks (pure)."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

from attrs import field, frozen

from restreamer.errors import Reason, Refused, RemoteProtocolError
from restreamer.http1.play_request import FILTER_TRACKS, query_value
from restreamer.media.names import check_stream_name
from restreamer.media.selection import TrackSelection
from restreamer.rtsp.description import track_of_control

_SCHEMES: Final = ("rtsp://", "rtsps://", "rtspu://")


@frozen(kw_only=True)
class Target:
    """A URL taken apart.

    @ivar path: percent-decoded, without slashes at its ends. @ivar query: without C{?}; may hold secrets.
    @ivar base: the URL of the whole stream without query, with a C{/} at its end.
    """

    path: str
    query: str = field(default="", repr=False)
    base: str = ""

    @property
    def track_id(self) -> int | None:
        """The track a player asks for; None: the whole stream."""
        return track_of_control(self.path.rpartition("/")[2])

    @property
    def played(self) -> str:
        """The name of the stream to be played.

        @raise Refused: it is none.
        """
        path = self.path if self.track_id is None else self.path.rpartition("/")[0]
        return check_stream_name(path)

    @property
    def published(self) -> str:
        """The name of the stream to be published: an ending C{.sdp} does not belong to it.

        @raise Refused: it is none.
        """
        return check_stream_name(self.path.removesuffix(".sdp"))

    def value(self, name: str) -> str:
        """A value of the query."""
        return query_value(self.query, name) if self.query else ""

    @property
    def selection(self) -> TrackSelection | None:
        """The tracks chosen by C{filter.tracks}; None: all.

        @raise Refused: BAD_NAME, the value is not of this form.
        """
        text = self.value(FILTER_TRACKS)
        if not text:
            return None
        selection = TrackSelection.parse(text)
        if selection is None:
            raise Refused(Reason.BAD_NAME, f"{FILTER_TRACKS} is v or a with a number, once or more: v1a2")
        return selection


def parse_target(url: str) -> Target:
    """Take the URL of a request apart.

    Clients put a control attribute behind whatever they were told to play, a query too:
    C{rtsp://host/name?token=x/trackID=1}.
    @raise RemoteProtocolError: it is no RTSP URL.
    """
    if url == "*":
        return Target(path="")
    if not url.lower().startswith(_SCHEMES):
        raise RemoteProtocolError("RTSP URL", "expected rtsp://HOST/NAME")
    scheme, _, rest = url.partition("://")
    place, _, query = rest.partition("?")
    authority, _, path = place.partition("/")
    authority = authority.rpartition("@")[2]
    path = path.strip("/")
    before, slash, control = query.rpartition("/")
    if slash and track_of_control(control) is not None:
        query, path = before, f"{path}/{control}"
    stream = path.rpartition("/")[0] if track_of_control(path.rpartition("/")[2]) is not None else path
    return Target(
        path=unquote(path, errors="replace"),
        query=query.strip("/") if slash and not control else query,
        base=f"{scheme}://{authority}/{stream}/",
    )
