"""From what an RTMP client says (app, tcUrl, stream key) to a stream name and its parameters (pure).

The name is C{app/key}. An app C{static} or C{rtmp} is a mere entrance and not part of the name; since clients
cut C{rtmp://host/static/a/b} at different slashes, an app that begins with such a part loses that part
alone. Parameters (C{?token=...&password=...}) may hang on the app, on tcUrl or on the key; the key's win.
"""

from __future__ import annotations

from urllib.parse import parse_qsl

from attrs import field, frozen

from restreamer.errors import Reason, Refused
from restreamer.media.names import check_stream_name

_ENTRANCES = ("static", "rtmp")
_MAX_QUERY = 2048
_MAX_FIELDS = 32


@frozen(kw_only=True)
class StreamAddress:
    """A checked name and the parameters beside it, which may be secret.

    @ivar query: the joined query strings as received.
    """

    name: str
    token: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    query: str = field(default="", repr=False)


def _fields(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="replace"))
    except ValueError as error:
        raise Refused(Reason.BAD_NAME, f"more than {_MAX_FIELDS} parameters") from error


def resolve(app: str, tc_url: str, key: str) -> StreamAddress:
    """The address a client means.

    @raise Refused: with L{Reason.BAD_NAME} when it makes no valid stream name.
    """
    path, _, app_query = app.partition("?")
    last, _, key_query = key.partition("?")
    if not app_query:
        app_query = tc_url.partition("?")[2]
    query = "&".join(part for part in (app_query, key_query) if part)
    if len(query) > _MAX_QUERY:
        raise Refused(Reason.BAD_NAME, f"parameters of more than {_MAX_QUERY} characters")
    parts = [part for part in path.split("/") if part]
    if parts and parts[0] in _ENTRANCES:
        del parts[0]
    last = last.lstrip("/")
    name = check_stream_name("/".join([*parts, last] if last else parts))
    found = _fields(query)
    return StreamAddress(
        name=name, token=found.get("token", ""), password=found.get("password", ""), query=query
    )
