"""What one player is sent: which tracks, and in which dialect (pure)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import frozen

from restreamer.flv.dialect import FULL
from restreamer.http1.play_request import query_value, selection_of
from restreamer.http1.reply import HttpRequest
from restreamer.media.selection import TrackSelection
from restreamer.rtmp.capabilities import MULTITRACK, Capabilities, merged, named_capabilities
from restreamer.rtmp.play_muxer import PLAY, PUSH
from restreamer.seams import FeedViewer, Playable, ViewerTransport

#: The parameter by which an address names codecs that the player reads and cannot announce.
FOURCC: Final = "fourcc"
#: What is asked to learn the codecs of a stream: it is no choice of a viewer, which are limited in number.
_EVERYTHING: Final = FULL.container(PUSH)


@frozen
class Choice:
    """@ivar container: the feed; @ivar selection: the tracks the address chose; None: all."""

    container: str = PLAY
    selection: TrackSelection | None = None

    def join(
        self, playable: Playable, transport: ViewerTransport, ended: Callable[[str], None]
    ) -> FeedViewer:
        """Put the player on the feed (see L{Playable.join})."""
        return playable.join(self.container, transport, ended, self.selection)


def choose(playable: Playable, capabilities: Capabilities, query: str) -> Choice:
    """The choice of a player that announced C{capabilities} and asks with C{query}.

    @raise restreamer.errors.Refused: there is nothing it can be sent, or C{filter.tracks} is malformed.
    """
    text = query_value(query, FOURCC) if query else ""
    if text:
        capabilities = merged(capabilities, named_capabilities(text))
    selection = selection_of(HttpRequest(method="GET", path="/", query=query))
    if selection is not None and selection.several:
        # Who names several tracks of a kind reads them.
        capabilities = merged(capabilities, Capabilities(flags=MULTITRACK))
    tracks = playable.tracks(_EVERYTHING, selection)
    choice = Choice(capabilities.dialect(tracks).container(), selection)
    playable.tracks(choice.container, selection)
    return choice
