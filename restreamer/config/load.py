"""Loading a configuration: the one way in for the program, its reload and its command line.

All or nothing: either a whole L{Configuration} comes back or a ConfigError, never half of a file. A very long
file takes seconds: a running node loads it in a thread.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence

from attrs import frozen

from restreamer.addresses import is_loopback
from restreamer.config.build import build, pem_file
from restreamer.config.grammar import Argument, Statement, read_statements
from restreamer.config.include import MAX_BYTES, ConfigFileError, FileReader, expanded, no_include
from restreamer.config.model import NAME_PLACEHOLDER, Configuration, ConfigWarning, Place, StreamConfig
from restreamer.config.values import wrong
from restreamer.config.words import CERTIFICATES, EVERYBODY_KNOWS, EXAMPLE_KEYS, LISTENERS, SECRET_WORDS

NEAR = os.path.join("conf", "restreamer.conf")
_KEY_OF = re.compile(r"^securetoken://|\?.*")
FAR = "/etc/restreamer/restreamer.conf"


@frozen(kw_only=True)
class Loaded:
    """A configuration that can be used.

    @ivar warnings: what was understood but has no effect or weakens the node, by file and line.
    @ivar files: every file read, the main one first.
    """

    configuration: Configuration
    warnings: tuple[ConfigWarning, ...] = ()
    files: tuple[str, ...] = ()


def parse(text: str, path: str = "restreamer.conf") -> Loaded:
    """A configuration from text alone; no file is opened and C{include} is refused.

    @param path: how places name the text; relative folders begin at its folder.
    @raise ConfigError: always this, whatever C{text} is.
    """
    if len(text) > MAX_BYTES:
        raise ConfigFileError(path, f"the configuration is longer than {MAX_BYTES} characters")
    configuration, warnings = build(expanded(read_statements(text, path), no_include))
    return Loaded(configuration=configuration, warnings=warnings)


def load(path: str, *, examples: bool = False) -> Loaded:
    """The configuration in the file C{path} and in what it includes.

    A key that everybody knows, because it is in the shipped examples, is refused as long as others than this
    machine can connect.
    @param examples: it is a shipped example itself: such a key is right.

    Besides the warnings of the text there is one for each storage folder, certificate file and film that does
    not exist, one for each file with a secret in it that everybody on the machine can read, and one when
    there is no port at all.
    @raise ConfigError: always this, whatever is in the files or keeps them from being read.
    """
    reader = FileReader()
    statements = reader.read(path)
    configuration, warnings = build(statements)
    if not examples and _is_reachable(configuration):
        _no_known_keys(statements)
    try:
        open_secrets = _open_secrets(statements)
    except OSError as error:
        raise ConfigFileError(path, f"went away while it was read: {error.strerror or error}")
    return Loaded(
        configuration=configuration,
        warnings=(
            *warnings,
            *open_secrets,
            *_missing_storages(configuration),
            *_missing_films(configuration),
            *_certificates(statements),
            *_deaf(configuration, path),
        ),
        files=tuple(reader.files),
    )


def find_config(explicit: str | None) -> str:
    """Which file to load: C{explicit}, else the near, else the system one.

    @raise ConfigError: there is none; both places are named.
    """
    if explicit is not None:
        return explicit
    for path in (NEAR, FAR):
        if os.path.exists(path):
            return path
    raise ConfigFileError(NEAR, f"no such file, and no {FAR} either: name one with --config")


def _open_secrets(statements: Sequence[Statement]) -> list[ConfigWarning]:
    """One warning for each file with a secret in it that everybody on the machine can read."""
    first: dict[str, Statement] = {}
    for statement in _with_blocks(statements):
        if _is_secret(statement) and _known_key(statement) is None:
            first.setdefault(statement.place.path, statement)
    warnings: list[ConfigWarning] = []
    for path, statement in first.items():
        mode = stat.S_IMODE(os.stat(path).st_mode)
        if mode & stat.S_IROTH:
            text = (
                f"it is secret, but everybody on this machine can read {path} (mode {mode:04o}; chmod 640 it)"
            )
            warnings.append(_warning(statement.place, statement.word, text))
    return warnings


def _no_known_keys(statements: Sequence[Statement]) -> None:
    """@raise ConfigError: one of the secrets is one of the examples."""
    for statement in _with_blocks(statements):
        argument = _known_key(statement) if _is_secret(statement) else None
        if argument is not None:
            raise wrong(statement, argument, f"a key of your own ({EVERYBODY_KNOWS}): openssl rand -hex 24")


def _known_key(statement: Statement) -> Argument | None:
    """The argument that is a key of the shipped examples."""
    return next((each for each in statement.arguments if _KEY_OF.sub("", each.text) in EXAMPLE_KEYS), None)


def _is_reachable(configuration: Configuration) -> bool:
    """Whether others than this machine can connect to any port."""
    listeners = [each for word in LISTENERS for each in getattr(configuration, word)]
    return any(not each.address or not is_loopback(each.address) for each in listeners)


def _is_secret(statement: Statement) -> bool:
    """Whether a statement of a file that is right holds what lets somebody in."""
    texts = [each.text for each in statement.arguments]
    if statement.word == "allow":
        return texts[:1] == ["token"]
    if statement.word in ("on_play", "session_log"):
        return any(text.startswith("securetoken://") or "@" in text for text in texts)
    return statement.word in SECRET_WORDS


def _with_blocks(statements: Sequence[Statement]) -> Iterator[Statement]:
    for statement in statements:
        yield statement
        yield from _with_blocks(statement.block or ())


def _missing_storages(configuration: Configuration) -> list[ConfigWarning]:
    return [
        _warning(vod.place, "storage", f"vod {vod.name}: there is no folder {storage}")
        for vod in configuration.vods.values()
        for storage in vod.storages
        if not os.path.isdir(storage)
    ]


def _missing_films(configuration: Configuration) -> list[ConfigWarning]:
    """A warning for each film that is named and cannot be read; an absent folder has one of its own."""
    streams: list[StreamConfig] = [
        *configuration.streams.values(),
        *(template.stream for template in configuration.templates.values()),
    ]
    named: dict[tuple[Place, str], tuple[str, str]] = {}
    for stream in streams:
        for each in stream.inputs:
            if each.scheme == "file" and NAME_PLACEHOLDER not in each.url:
                named.setdefault((each.place, each.path), ("input", each.host))
    backups = [each.backup for each in streams] + [each.backup for each in configuration.sources]
    for backup in backups:
        if backup is not None:
            vod, _, path = backup.path.partition("/")
            named.setdefault((backup.place, path), ("backup", vod))
    warnings: list[ConfigWarning] = []
    for (place, path), (word, vod) in named.items():
        known = configuration.vods.get(vod)
        storages = [each for each in known.storages if os.path.isdir(each)] if known is not None else []
        found = [each for each in storages if _is_film(each, path)]
        if storages and not found:
            text = f"there is no file {path} in any storage of vod {vod} (links are not followed)"
            warnings.append(_warning(place, word, text))
        elif found and not os.access(os.path.join(found[0], path), os.R_OK):
            text = f"the file {path} of vod {vod} may not be read by this user"
            warnings.append(_warning(place, word, text))
    return warnings


def _is_film(storage: str, path: str) -> bool:
    """Whether C{path} is a regular file below C{storage}, with no link on the way."""
    whole = os.path.join(os.path.realpath(storage), path)
    return os.path.isfile(whole) and os.path.realpath(whole) == whole


def _certificates(statements: Sequence[Statement]) -> list[ConfigWarning]:
    """A warning for each file with a certificate or key that is absent, or whose key everybody can read."""
    certificates = [each for each in statements if each.word in CERTIFICATES]
    key_file = next((each for each in certificates if each.word == "ssl_certificate_key"), None)
    warnings: list[ConfigWarning] = []
    for statement in certificates:
        path = pem_file(statement)
        secret = statement is key_file or (key_file is None and statement.word == "ssl_certificate")
        if not os.path.isfile(path):
            warnings.append(_warning(statement.place, statement.word, f"there is no file {path}"))
        elif secret and os.stat(path).st_mode & stat.S_IROTH:
            text = f"its key is secret, but everybody on this machine can read {path} (chmod 640 it)"
            warnings.append(_warning(statement.place, statement.word, text))
    return warnings


def _deaf(configuration: Configuration, path: str) -> list[ConfigWarning]:
    if any(getattr(configuration, word) for word in LISTENERS):
        return []
    ports = ", ".join(LISTENERS[:-1])
    text = f"there is no {ports} or {LISTENERS[-1]} port, so nobody can connect"
    return [ConfigWarning(path, 1, 1, "http", text)]


def _warning(place: Place, word: str, text: str) -> ConfigWarning:
    return ConfigWarning(place.path, place.line, place.column, word, text)
