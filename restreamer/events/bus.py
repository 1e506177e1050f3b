"""Events: one mapping each, with a name, a number, a time and what it is about, told to all who listen.

Every event has C{event} (its name), C{event_id} (rising within one run of the node), C{utc_ms}, C{server}
and, where it is about one, C{media} (name of a stream or file) and C{id} (of a session, run or push).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from restreamer.logs import Logger

_log = Logger()

#: Events that are remembered for who comes later.
REMEMBERED: Final = 1000

#: Every event there is, and when it happens.
EVENTS: Final[Mapping[str, str]] = {
    "server_started": "The node takes work.",
    "server_stopped": "The node ends.",
    "config_changed": "Another configuration is in force.",
    "config_external_error": "A configuration could not be read; the one before stays.",
    "stream_opened": "A stream is made.",
    "stream_started": "An input feeds the stream: it can be played.",
    "stream_stopped": "The stream has lost its input and waits for it.",
    "stream_closed": "The stream is gone for good.",
    "source_started": "Another input feeds the stream now.",
    "source_lost": "The control link to a source is lost.",
    "source_ready": "The control link to a source is up, and its list is whole.",
    "play_opened": "A viewer comes.",
    "play_authorized": "The viewer may watch.",
    "play_started": "The viewer has got the first media.",
    "play_updated": "The viewer goes on watching, and may.",
    "play_closed": "The viewer has left, or was sent away.",
    "publish_opened": "A publisher comes.",
    "publish_authorized": "The publisher may publish.",
    "publish_started": "The publisher has sent the first media.",
    "publish_updated": "The publisher goes on, and may.",
    "publish_closed": "The publisher has left, or was sent away.",
    "push_started": "A push is taken by the other server.",
    "push_stopped": "A push is not taken any more.",
    "dvr_alarm": "An archive is not written or read as it should be.",
    "dvr_recovered": "It is again.",
    "api_call": "The API was told to change something.",
}


class EventListener(Protocol):
    """Whoever wants to hear of events."""

    def event(self, event: Mapping[str, Any]) -> None:
        """Something happened; it is over quickly, and raises nothing. The mapping is shared: not changed."""
        ...


class EventBus:
    """Where events are told.

    @param utc_ms: UTC milliseconds now. @param server: name of this node.
    """

    def __init__(self, utc_ms: Callable[[], int], server: str = "") -> None:
        self._utc_ms = utc_ms
        self._server = server
        self._number = 0
        self._listeners: list[EventListener] = []
        self._recent: deque[Mapping[str, Any]] = deque(maxlen=REMEMBERED)

    def listen(self, listener: EventListener) -> Callable[[], None]:
        """Tell C{listener} from now on, until what this gives back is called."""
        self._listeners.append(listener)

        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return stop

    def emit(self, name: str, media: str = "", **facts: Any) -> None:
        """Tell of an event. @param facts: JSON values; those that are None are left out."""
        assert name in EVENTS, name
        self._number += 1
        event: dict[str, Any] = {"event": name, "event_id": self._number, "utc_ms": self._utc_ms()}
        if self._server:
            event["server"] = self._server
        if media:
            event["media"] = media
        event.update({key: value for key, value in facts.items() if value is not None})
        self._recent.append(event)
        for listener in tuple(self._listeners):
            try:
                listener.event(event)
            except Exception:
                _log.failure("an event was not taken")

    def since(self, number: int) -> list[Mapping[str, Any]]:
        """The remembered events behind number C{number}, the oldest first."""
        return [event for event in self._recent if event["event_id"] > number]

    @property
    def newest(self) -> int:
        """Number of the newest event; 0: none yet."""
        return self._number
