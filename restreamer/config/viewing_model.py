"""What a configuration says of the API, the journal and events, as frozen values."""

from __future__ import annotations

from attrs import field, frozen


@frozen(kw_only=True)
class LoginConfig:
    """Who may ask the API."""

    user: str
    password: str = field(repr=False)


@frozen(kw_only=True)
class JournalConfig:
    """Where closed sessions are written. @ivar url: of a database, may be secret; empty: a file in the
    C{state_dir}. @ivar depth: seconds that rows are kept. @ivar off: nowhere.
    """

    url: str = field(default="", repr=False)
    depth: int = 30 * 86400
    off: bool = False


@frozen(kw_only=True)
class EventCondition:
    """C{key=value,value*}: see L{restreamer.events.filters.Condition}."""

    key: str
    values: tuple[str, ...]


@frozen(kw_only=True)
class EventSinkConfig:
    """Where events are sent: see L{restreamer.events.sinks.SinkLimits}. @ivar url: may be secret."""

    name: str
    url: str = field(repr=False)
    only: tuple[EventCondition, ...] = ()
    except_: tuple[EventCondition, ...] = ()
    max_depth: int = 10_000
    max_size: int = 1 << 20
    resend_limit: int = 0
    resend_timeout: float = 1.0
    throttle_delay: float = 0.2
