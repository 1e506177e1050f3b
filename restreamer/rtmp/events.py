"""What the server connection tells its owner, besides the publisher's own Audio, Video and Data messages."""

from __future__ import annotations

from attrs import frozen

from restreamer.rtmp.address import StreamAddress
from restreamer.rtmp.capabilities import NOTHING, Capabilities
from restreamer.rtmp.message import Audio, Data, Video


@frozen
class Connected:
    """The peer said connect and was answered.

    @ivar app: the application without parameters, cut to 255 characters.
    @ivar client: the peer's software as it names itself, cut to 255 characters.
    @ivar capabilities: what it says that it reads of Enhanced RTMP.
    """

    app: str
    client: str
    capabilities: Capabilities = NOTHING


@frozen
class PublishRequested:
    """The peer wants to publish: answer with C{accept_publish} or C{refuse} and this number."""

    request: int
    address: StreamAddress


@frozen
class PlayRequested:
    """The peer wants to play: answer with C{accept_play} or C{refuse} and this number."""

    request: int
    address: StreamAddress


@frozen
class RequestRefused:
    """The connection itself answered a publish or play with an error; C{why} holds no secrets."""

    action: str
    why: str


@frozen
class PublishEnded:
    """The publish (or the request for it) is over: the peer closed its stream."""


@frozen
class PlayEnded:
    """The play (or the request for it) is over."""


@frozen
class PlayPaused:
    """The player wants no media for now."""


@frozen
class PlayResumed:
    """The player wants media again."""


Event = (
    Connected
    | PublishRequested
    | PlayRequested
    | RequestRefused
    | PublishEnded
    | PlayEnded
    | PlayPaused
    | PlayResumed
    | Audio
    | Video
    | Data
)
