"""C{on_play}, C{on_publish} and what goes with them; C{auth_backend}; C{forwarded_for}."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from restreamer.config import values
from restreamer.config.auth_model import AuthBackendConfig, Network
from restreamer.config.blocks import Once, Warn, served
from restreamer.config.grammar import Argument, Statement
from restreamer.config.networks import network
from restreamer.config.words import AUTH_BACKEND, EVERYBODY_KNOWS, EXAMPLE_KEYS

#: Characters of a URL that is asked.
MAX_URL: Final = 2000
MAX_BACKENDS: Final = 16
MAX_LISTED: Final = 10_000
MAX_DOMAINS: Final = 1000
MOST_SESSIONS: Final = 1_000_000
#: Characters of a signing key below which it can be guessed.
SHORT_KEY: Final = 16
#: … and below which it is refused.
SHORTEST_KEY: Final = 8
#: What sessions may be told apart by; the first three always.
SESSION_KEYS: Final = ("name", "ip", "proto", "token", "user_agent")

#: Countries of a list.
MAX_COUNTRIES: Final = 300
_FIELD: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TOKEN: Final = re.compile(r"[!-~]{1,1024}")
_COUNTRY: Final = re.compile(r"[A-Za-z]{2}")
_AGENT: Final = re.compile(r"[ -~]{1,256}")
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
_BRACKETED: Final = re.compile(r"\[[^\]]*\](?::[0-9]{1,5})?")
_URL_RULE: Final = "http://HOST[:PORT]/PATH or https://…"
_PLAY_RULE: Final = f"{_URL_RULE}, auth://NAME, securetoken://KEY, or false"
_PUBLISH_RULE: Final = f"{_URL_RULE}, auth://NAME, or false"
_USER_RULE: Final = "a URL without USER:PASSWORD@ (what the backend may know goes into the query)"


def on_play(statement: Statement, known: frozenset[str], warn: Warn) -> str:
    """C{on_play URL;}; C{on_play false;} asks nobody, whatever a template says.

    @param known: names of C{auth_backend}s.
    """
    argument = values.one(statement, "on_play URL;")
    if argument.text.startswith("securetoken://"):
        return _signed(statement, argument, warn)
    return _asked(statement, argument, known, _PLAY_RULE)


def on_publish(statement: Statement, known: frozenset[str], warn: Warn) -> str:
    """C{on_publish URL;}, likewise."""
    return _asked(statement, values.one(statement, "on_publish URL;"), known, _PUBLISH_RULE)


def _asked(statement: Statement, argument: Argument, known: frozenset[str], rule: str) -> str:
    text = argument.text
    if text == "false":
        return ""
    if text.startswith("auth://"):
        if text.removeprefix("auth://") not in known:
            names = ", ".join(sorted(known)) or "there are none"
            raise values.wrong(statement, argument, f"auth:// with the name of an auth_backend ({names})")
        return text
    return backend_url(statement, argument, rule)


def _signed(statement: Statement, argument: Argument, warn: Warn) -> str:
    key, _, query = argument.text.removeprefix("securetoken://").partition("?")
    if not _TOKEN.fullmatch(key):
        raise values.wrong(statement, argument, "securetoken:// with a key of printable ASCII characters")
    if query not in ("", "no_check_ip=true", "no_check_ip=false"):
        raise values.wrong(statement, argument, "nothing but ?no_check_ip=true behind the key")
    if len(key) < SHORTEST_KEY:
        raise values.wrong(
            statement, argument, f"securetoken:// with a key of at least {SHORTEST_KEY} characters"
        )
    if len(key) < SHORT_KEY:
        text = f"its key is shorter than {SHORT_KEY} characters and can be guessed"
        warn(statement.place, statement.word, text)
    if key in EXAMPLE_KEYS:
        warn(statement.place, statement.word, EVERYBODY_KNOWS)
    return argument.text


def backend_url(statement: Statement, argument: Argument, rule: str = _URL_RULE) -> str:
    """The URL of a backend: http or https, a host that is no address of a link, no user, no fragment.

    @raise ConfigError: it is not right.
    """
    text = argument.text
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise values.wrong(statement, argument, rule) from None
    if len(text) > MAX_URL or not text.isascii() or any(not "!" <= each <= "~" for each in text):
        raise values.wrong(statement, argument, f"a URL of at most {MAX_URL} printable ASCII characters")
    if parts.scheme not in ("http", "https") or not text.startswith(f"{parts.scheme}://") or port == 0:
        raise values.wrong(statement, argument, rule)
    if "@" in parts.netloc:
        raise values.wrong(statement, argument, _USER_RULE)
    if "#" in text or "\\" in text:
        raise values.wrong(statement, argument, "a URL without # and \\")
    return _with_host(statement, argument, parts, host, rule)


def _with_host(statement: Statement, argument: Argument, parts: SplitResult, host: str, rule: str) -> str:
    """The URL with its host in its shortest spelling."""
    if not parts.netloc.startswith("[") and not re.fullmatch(r"[0-9.]+", host):
        if _HOST.fullmatch(host) is None:
            raise values.wrong(statement, argument, rule)
        return argument.text
    try:
        address = ip_address(host)
    except ValueError:
        raise values.wrong(statement, argument, f"{rule}: the address in it is none") from None
    if parts.netloc.startswith("[") and not _BRACKETED.fullmatch(parts.netloc):
        raise values.wrong(statement, argument, rule)
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    if "%" in host or address.is_link_local or address.is_multicast or address.is_unspecified:
        expected = f"{rule}: no address of a link (169.254.…, fe80::…), of a group, and no 0.0.0.0"
        raise values.wrong(statement, argument, expected)
    shown = f"[{address}]" if address.version == 6 else str(address)
    port = f":{parts.port}" if parts.port is not None else ""
    return parts._replace(netloc=shown + port).geturl()


def domains(statement: Statement) -> tuple[str, ...]:
    """C{domains HOST… *.HOST…;}; C{domains false;}: all."""
    values.no_block(statement)
    given = values.arguments(statement, 1, MAX_DOMAINS, "domains HOST…; (*.HOST: and all below it)")
    if [each.text for each in given] == ["false"]:
        return ()
    found: dict[str, None] = {}
    for each in given:
        host = each.text.lower()
        if _HOST.fullmatch(host.removeprefix("*.")) is None:
            raise values.wrong(statement, each, "a host: example.com, or *.example.com, without http://")
        found[host.rstrip(".")] = None
    return tuple(found)


def session_keys(statement: Statement) -> tuple[str, ...]:
    """C{session_keys name ip proto [token] [user_agent];}, in any order."""
    values.no_block(statement)
    usage = "session_keys name ip proto [token] [user_agent];"
    given = values.arguments(statement, 3, len(SESSION_KEYS), usage)
    once = Once("key")
    for each in given:
        if each.text not in SESSION_KEYS:
            raise values.wrong(statement, each, f"one of {', '.join(SESSION_KEYS)}")
        once.add(each.text, each.place, each.text)
    words = {each.text for each in given}
    for word in SESSION_KEYS[:3]:
        if word not in words:
            raise statement.error(f"{usage} ({word} is missing)")
    return tuple(word for word in SESSION_KEYS if word in words)


def countries(statement: Statement) -> frozenset[str]:
    """C{allowed_countries CODE…;}; C{allowed_countries false;}: all."""
    values.no_block(statement)
    given = values.arguments(statement, 1, MAX_COUNTRIES, f"{statement.word} CODE…;")
    if [each.text for each in given] == ["false"]:
        return frozenset()
    for each in given:
        if _COUNTRY.fullmatch(each.text) is None:
            raise values.wrong(statement, each, "a country of two letters (ISO 3166): DE, US")
    return frozenset(each.text.upper() for each in given)


def warn_of_countries(statements: Iterable[Statement], warn: Warn) -> None:
    """Tell of lists of countries in a file without C{geoip}: C{allowed_countries} lets nobody in then, and
    C{disallowed_countries} everybody.
    """
    for statement in statements:
        if statement.word in _COUNTRY_WORDS and countries(statement):
            warn(statement.place, statement.word, _NO_COUNTRY)
        elif statement.block:
            warn_of_countries(statement.block, warn)


def read_auth_token(statement: Statement) -> str:
    """C{auth_token NAME;}: the field of a query that has the token of a viewer."""
    argument = values.one(statement, "auth_token NAME;")
    if _FIELD.fullmatch(argument.text) is None:
        raise values.wrong(statement, argument, "a name of at most 64 letters, digits and . _ -")
    return argument.text


#: The field of L{restreamer.config.auth_model.AuthConfig} that a word is about, and how it is read.
_FIELDS: Final[Mapping[str, tuple[str, Callable[[Statement], object]]]] = {
    "allowed_countries": ("allowed_countries", countries),
    "auth_grace": ("grace", values.timeout),
    "disallowed_countries": ("disallowed_countries", countries),
    "domains": ("domains", domains),
    "max_sessions": ("max_sessions", lambda statement: values.whole(statement, 0, MOST_SESSIONS)),
    "no_auto_token": ("auto_token", lambda statement: not values.flag(statement)),
    "session_keys": ("session_keys", session_keys),
    "soft_limitation": ("soft_limitation", values.flag),
}
_ASKING: Final[Mapping[str, Callable[[Statement, frozenset[str], Warn], str]]] = {
    "on_play": on_play,
    "on_publish": on_publish,
}
_COUNTRY_WORDS: Final = frozenset(["allowed_countries", "disallowed_countries"])
_NO_COUNTRY: Final = "no country is known without geoip FILE; at the top level"
#: Words of streams, sources and VODs that say who may.
AUTH_WORDS: Final = frozenset([*_FIELDS, *_ASKING])


def read_auth(statement: Statement, known: frozenset[str], warn: Warn) -> tuple[str, object]:
    """One of L{AUTH_WORDS}: a field of L{restreamer.config.auth_model.AuthConfig} and its value.

    @param known: names of C{auth_backend}s.
    """
    if statement.word in _ASKING:
        return statement.word, _ASKING[statement.word](statement, known, warn)
    field, read = _FIELDS[statement.word]
    return field, read(statement)


def read_auth_backends(
    statements: Sequence[Statement], geoip: bool, warn: Warn
) -> dict[str, AuthBackendConfig]:
    """All C{auth_backend NAME { … }}, by name. @param geoip: whether countries can be known."""
    found: dict[str, AuthBackendConfig] = {}
    once = Once("auth_backend")
    for statement in statements:
        argument = values.arguments(statement, 1, 1, "auth_backend NAME { backend URL; }")[0]
        name = values.name(statement, argument)
        once.add(name, argument.place, name)
        found[name] = _auth_backend(statement, name, geoip, warn)
    return found


def _auth_backend(statement: Statement, name: str, geoip: bool, warn: Warn) -> AuthBackendConfig:
    lists: dict[str, dict[Any, None]] = {}
    backends: list[str] = []
    default: bool | None = None
    once = Once("backend of an auth_backend")
    for each in served(statement.block or (), AUTH_BACKEND, warn):
        values.no_block(each)
        if each.word == "backend":
            url = values.one(each, "backend URL;")
            backends.append(backend_url(each, url))
            once.add(backends[-1], url.place, "backend")
            if len(backends) > MAX_BACKENDS:
                raise each.error(f"at most {MAX_BACKENDS} backends")
            continue
        usage = f"{each.word} ip|token|country|ua VALUE…; or {each.word} default;"
        kind, *given = values.arguments(each, 1, MAX_LISTED, usage)
        if kind.text == "default":
            if given or default is not None:
                raise values.wrong(each, given[0] if given else kind, f"one {each.word} default; alone")
            default = each.word == "allow"
            continue
        if kind.text not in _LISTS:
            raise values.wrong(each, kind, "ip, token, country, ua or default")
        if not given:
            raise each.error(f"{each.word} {kind.text} with at least one value")
        field, read = _LISTS[kind.text]
        if kind.text == "country" and not geoip:
            warn(kind.place, "country", _NO_COUNTRY)
        if each.word == "allow" and any(argument.text in EXAMPLE_KEYS for argument in given):
            warn(each.place, each.word, EVERYBODY_KNOWS)
        into = lists.setdefault(f"{each.word}_{field}", {})
        for argument in given:
            into[read(each, argument)] = None
    if not lists and not backends and default is None:
        raise statement.error(f"auth_backend {name} {{ … }} with at least one allow, deny or backend in it")
    made: dict[str, Any] = {
        key: frozenset(found) if key.endswith(("tokens", "countries")) else tuple(found)
        for key, found in lists.items()
    }
    return AuthBackendConfig(name=name, backends=tuple(backends), allow_default=bool(default), **made)


def _listed(form: re.Pattern[str], expected: str, change: Callable[[str], str]) -> Any:
    def read(statement: Statement, argument: Argument) -> str:
        if form.fullmatch(argument.text) is None:
            raise values.wrong(statement, argument, expected)
        return change(argument.text)

    return read


_LISTS: Final[Mapping[str, tuple[str, Callable[[Statement, Argument], Any]]]] = {
    "country": ("countries", _listed(_COUNTRY, "a country of two letters (ISO 3166): DE, US", str.upper)),
    "ip": ("ips", network),
    "token": ("tokens", _listed(_TOKEN, "a token of at most 1024 printable ASCII characters", str)),
    "ua": ("agents", _listed(_AGENT, "a part of a User-Agent, of at most 256 characters", str)),
}


def read_forwarded_for(statements: Sequence[Statement], warn: Warn) -> tuple[Network, ...]:
    """All C{forwarded_for ADDRESS|NETWORK…;}: who may say for whom it asks."""
    found: dict[Network, None] = {}
    for statement in statements:
        values.no_block(statement)
        for argument in values.arguments(statement, 1, 1000, "forwarded_for ADDRESS|NETWORK…;"):
            made = network(statement, argument)
            if made.prefixlen == 0:
                text = "everybody is in this network, so everybody can pretend to be anybody"
                warn(argument.place, statement.word, text)
            found[made] = None
    return tuple(found)
