"""What a configuration file says, as frozen values: nothing here reads files or knows the syntax.

Times are seconds, as in the file; C{segment_ticks} is the one place where they become ticks. A C{place} says
where a value was written; it takes no part in comparison, so that moving a block in the file changes nothing.
These objects stop in the assembly: below it travel plain values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from attrs import evolve, field, frozen
from typing_extensions import override

from restreamer.config.auth_model import NO_RULES, Network
from restreamer.config.auth_model import AuthBackendConfig as AuthBackendConfig
from restreamer.config.auth_model import AuthConfig as AuthConfig
from restreamer.config.viewing_model import EventCondition as EventCondition
from restreamer.config.viewing_model import EventSinkConfig as EventSinkConfig
from restreamer.config.viewing_model import JournalConfig as JournalConfig
from restreamer.config.viewing_model import LoginConfig as LoginConfig
from restreamer.media.timebase import TICKS_PER_MS, TICKS_PER_SECOND

DEFAULT_HTTP_PORT = 80
DEFAULT_HTTPS_PORT = 443
DEFAULT_RTMP_PORT = 1935
DEFAULT_RTMPS_PORT = 443
DEFAULT_SEGMENT_DURATION = 5
DEFAULT_SEGMENT_COUNT = 4
DEFAULT_CHUNK_DURATION = 200
DEFAULT_SOURCE_TIMEOUT = 60.0
DEFAULT_CLIENTS_TIMEOUT = 60.0
DEFAULT_FSYNC_INTERVAL = 1.0
NAME_PLACEHOLDER = "%s"
DEFAULT_DRAIN_TIME = 60.0
#: C{workers auto;}
AUTO = -1
#: The most workers.
MAX_WORKERS = 64


@frozen
class Place:
    """Where something was written: the file as the user named it, 1-based line and column."""

    path: str
    line: int
    column: int

    @override
    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


NOWHERE = Place("", 0, 0)


@frozen
class ConfigWarning:
    """Something in the file that is understood but has no effect, or weakens the node; not an error.

    @ivar path: the file; @ivar line, @ivar column: 1-based place of C{word}.
    @ivar word: the directive, option or scheme it is about (never its argument, which may be secret).
    @ivar text: one plain sentence.
    """

    path: str
    line: int
    column: int
    word: str
    text: str

    @override
    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.word}: {self.text}"


@frozen(kw_only=True)
class Listen:
    """A listening socket.

    @ivar address: an IP address in its shortest spelling, without brackets; empty = every IPv4 address.
    @ivar port: 1-65535.
    @ivar api: whether pages and API are answered on it (HTTP and HTTPS only).
    """

    address: str = ""
    port: int
    api: bool = True
    place: Place = field(default=NOWHERE, eq=False, repr=False)

    @property
    def key(self) -> tuple[str, int]:
        """What makes two listeners the same socket."""
        return (self.address, self.port)

    @property
    def endpoint(self) -> str:
        """The listener as a Twisted server endpoint description."""
        if not self.address:
            return f"tcp:{self.port}"
        family = "tcp6" if ":" in self.address else "tcp"
        interface = self.address.replace(":", "\\:")
        return f"{family}:{self.port}:interface={interface}"

    @override
    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}" if host else str(self.port)


def _shown_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@frozen(kw_only=True)
class BackupConfig:
    """A file that is shown, round and round, while nothing else feeds a stream.

    @ivar path: C{VOD/PATH}: the name of a VOD and a path inside it (relative, no C{..}).
    @ivar timeout: seconds without a frame after which it is shown; None = the C{source_timeout} of what
        was lost.
    @ivar audio_timeout, video_timeout: the same, of frames of one kind alone; None = not looked at.
    @ivar dvr: whether what it shows is recorded. @ivar transcode: whether it is made like the stream.
    """

    path: str
    timeout: float | None = None
    audio_timeout: float | None = None
    video_timeout: float | None = None
    dvr: bool = False
    transcode: bool = False
    place: Place = field(default=NOWHERE, eq=False, repr=False)

    @property
    def vod(self) -> str:
        """The name of the VOD it lies in."""
        return self.path.partition("/")[0]

    @property
    def url(self) -> str:
        """The same file as an input URL."""
        return "file://" + self.path


@frozen(kw_only=True)
class S3Config:
    """An object store that speaks S3.

    @ivar endpoint: C{http://HOST[:PORT]} or C{https://…}. @ivar key, secret: credentials; empty = from the
        environment. @ivar bucket: its name. @ivar prefix: before the names of objects, no C{/} around it.
    """

    endpoint: str
    key: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    bucket: str
    prefix: str = ""

    @override
    def __str__(self) -> str:
        return f"{self.endpoint}/{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


@frozen(kw_only=True)
class DvrStoreConfig:
    """A named place for archives.

    @ivar name: a checked name. @ivar root: absolute folder. @ivar copy: where closed hours are copied to.
    @ivar fsync_interval: seconds after which what was recorded is on the disk for certain.
    """

    name: str
    root: str
    copy: S3Config | None = None
    fsync_interval: float = DEFAULT_FSYNC_INTERVAL
    place: Place = field(default=NOWHERE, eq=False, repr=False)


@frozen(kw_only=True)
class DvrConfig:
    """That a stream is recorded, and for how long it is kept; all limits that are given apply.

    @ivar root: absolute folder; each stream has its own below it. @ivar depth: seconds.
    @ivar size: bytes of one stream (10^9 = 1G). @ivar percent: of the whole disk that may be in use.
    @ivar replicate: what is missing is fetched from the source. @ivar replication_port: HTTP port of the
        source for that; None = the one of its links. @ivar copy: where closed hours are copied to.
    @ivar copy_depth: seconds after which copies are deleted there; None = never.
    @ivar fsync_interval: as in L{DvrStoreConfig}.
    """

    root: str
    depth: int | None = None
    size: int | None = None
    percent: int | None = None
    replicate: bool = False
    replication_port: int | None = None
    copy: S3Config | None = None
    copy_depth: int | None = None
    fsync_interval: float = DEFAULT_FSYNC_INTERVAL
    place: Place = field(default=NOWHERE, eq=False, repr=False)


@frozen(kw_only=True)
class CacheConfig:
    """That segments of the archives of sources are kept on a disk of this node.

    @ivar root: absolute folder. @ivar age: seconds after which one is dropped. @ivar size: bytes of all.
    @ivar misses: a segment is kept from this request on; 0 and 1: from the first.
    """

    root: str
    age: int | None = None
    size: int | None = None
    misses: int = 0
    place: Place = field(default=NOWHERE, eq=False, repr=False)


@frozen(kw_only=True)
class PushConfig:
    """Another server that a stream is sent to. The path may hold a secret: it is not in the repr.

    @ivar url: as written, with C{%s} still in it when it stands in a template or a source.
    @ivar scheme: C{m4f}, C{m4fs}, C{rtmp} (also over TLS) or C{udp}.
    @ivar host: lower case, IPv6 without brackets. @ivar port: TCP or UDP port.
    @ivar path: remote stream name of C{m4f}; application and key of C{rtmp}, with the C{/} before them.
    @ivar query: of the URL, without C{?}; @ivar user, @ivar password: of the URL.
    @ivar options: C{key=value} behind the URL, and what its spelling stands for.
    @ivar tls: whether the connection is TLS.
    @ivar cluster_key: shared secret of the link, C{m4f} and C{m4fs} only.
    """

    url: str = field(repr=False)
    scheme: str
    host: str
    port: int
    path: str = field(repr=False)
    query: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    options: tuple[tuple[str, str], ...] = ()
    tls: bool = False
    cluster_key: str = field(default="", repr=False)
    place: Place = field(default=NOWHERE, eq=False, repr=False)

    def for_stream(self, name: str) -> PushConfig:
        """This push with C{%s} replaced by the stream's name."""
        return _named(self, name)

    @override
    def __str__(self) -> str:
        return f"{self.scheme}://{_shown_host(self.host)}:{self.port}"


@frozen(kw_only=True)
class InputConfig:
    """One place a stream can come from.

    @ivar url: as written, with C{%s} still in it when it stands in a template.
    @ivar scheme: C{publish}, C{file}, C{m4f}, C{m4fs}, or the kind of server: C{rtmp}, C{rtsp}, C{tshttp},
        C{hls}, C{udp}.
    @ivar host: the server (lower case, IPv6 without brackets), the VOD name of C{file}, else empty.
    @ivar port: its TCP or UDP port, else 0.
    @ivar path: remote stream name of C{m4f}, path inside the VOD of C{file} (relative, no C{..}), path of
        another URL with its C{/}, else empty.
    @ivar query: of the URL, without C{?}; @ivar user, @ivar password: of the URL.
    @ivar options: C{key=value} behind the URL that the kind knows, and what its spelling stands for.
    @ivar tls: whether the connection is TLS.
    @ivar source_timeout: seconds without a frame after which this input is lost; 0 = never;
        None = what the stream says.
    @ivar priority: lower is preferred; what was not written is filled in so that (priority, position) is
        the order of the inputs, which already stand in it. 0 everywhere when none was written.
    @ivar cluster_key: shared secret of the link, C{m4f} and C{m4fs} only.
    """

    url: str = field(repr=False)
    scheme: str
    host: str = ""
    port: int = 0
    path: str = field(default="", repr=False)
    query: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    options: tuple[tuple[str, str], ...] = ()
    tls: bool = False
    source_timeout: float | None = None
    priority: int = field(default=0, eq=False)
    cluster_key: str = field(default="", repr=False)
    place: Place = field(default=NOWHERE, eq=False, repr=False)

    def for_stream(self, name: str) -> InputConfig:
        """This input with C{%s} replaced by the stream's name."""
        return _named(self, name)


_Place = TypeVar("_Place", InputConfig, PushConfig)


def _named(place: _Place, name: str) -> _Place:
    """C{place} with the placeholder in its URL replaced by a stream's name."""
    if NAME_PLACEHOLDER not in place.url:
        return place
    return evolve(
        place,
        url=place.url.replace(NAME_PLACEHOLDER, name),
        path=place.path.replace(NAME_PLACEHOLDER, name),
        query=place.query.replace(NAME_PLACEHOLDER, name),
    )


@frozen(kw_only=True)
class StreamConfig:
    """One stream, its template's options already merged in.

    @ivar name: a checked stream name. @ivar title: human name, may be empty. @ivar comment: for operators.
    @ivar inputs: in order of preference; may be empty.
    @ivar static: run for ever; False = start at the first viewer. (Publishing is possible either way.)
    @ivar segment_duration: whole seconds, 1-30.
    @ivar chunk_duration: milliseconds of a low-latency part, 100-2000; 0 = no parts are cut.
    @ivar segment_count: segments in a live playlist, 3-100.
    @ivar source_timeout: seconds without a frame after which an input is lost; 0 = never.
    @ivar clients_timeout: on demand only: seconds from the last viewer to the stop; 0 = never stop.
    @ivar password: what a publisher must send; empty = no password.
    @ivar disabled: stays in the file, is not run and refuses publishers and viewers.
    @ivar retry_limit: on demand only: failed attempts before it gives up until it is asked for again;
        None = no limit.
    @ivar prepush: seconds of the past a continuous viewer begins with; 0 = none; None = the node's default.
    @ivar protocols: words of the protocols it is played by; None = all.
    @ivar url_prefix: stands before the URIs in playlists; no C{/} at its end; may be empty.
    @ivar backup: what is shown while no input delivers.
    @ivar push: servers it is sent to.
    @ivar auth: who may play and publish it.
    @ivar dvr: where it is recorded; None = not. @ivar cache: where segments of the past of sources are kept.
    @ivar template: name of the template it took options from, or empty.
    """

    name: str
    title: str = ""
    comment: str = ""
    inputs: tuple[InputConfig, ...] = ()
    static: bool = True
    segment_duration: int = DEFAULT_SEGMENT_DURATION
    chunk_duration: int = DEFAULT_CHUNK_DURATION
    segment_count: int = DEFAULT_SEGMENT_COUNT
    source_timeout: float = DEFAULT_SOURCE_TIMEOUT
    clients_timeout: float = DEFAULT_CLIENTS_TIMEOUT
    password: str = field(default="", repr=False)
    disabled: bool = False
    retry_limit: int | None = None
    prepush: float | None = None
    protocols: frozenset[str] | None = None
    url_prefix: str = ""
    backup: BackupConfig | None = None
    push: tuple[PushConfig, ...] = ()
    auth: AuthConfig = NO_RULES
    dvr: DvrConfig | None = None
    cache: CacheConfig | None = None
    template: str = ""
    place: Place = field(default=NOWHERE, eq=False, repr=False)

    @property
    def segment_ticks(self) -> int:
        """C{segment_duration} in ticks of 90 kHz."""
        return self.segment_duration * TICKS_PER_SECOND

    @property
    def chunk_ticks(self) -> int:
        """C{chunk_duration} in ticks of 90 kHz."""
        return self.chunk_duration * TICKS_PER_MS

    @property
    def takes_publisher(self) -> bool:
        """Whether C{publish://} is among the inputs."""
        return any(each.scheme == "publish" for each in self.inputs)


@frozen(kw_only=True)
class TemplateConfig:
    """Options to inherit and, with a prefix and C{publish://}, a place to publish to.

    @ivar name: a checked name. @ivar prefix: streams C{prefix/…} are taken; empty = none.
    @ivar stream: the options; its C{name} is the template's.
    """

    name: str
    prefix: str = ""
    stream: StreamConfig
    place: Place = field(default=NOWHERE, eq=False, repr=False)

    def takes(self, name: str) -> bool:
        """Whether a publisher may create stream C{name} by this template."""
        return (
            bool(self.prefix)
            and name.startswith(self.prefix + "/")
            and len(name) > len(self.prefix) + 1
            and self.stream.takes_publisher
        )

    def make(self, name: str) -> StreamConfig:
        """The stream C{name} made by this template."""
        return evolve(
            self.stream,
            name=name,
            template=self.name,
            inputs=tuple(each.for_stream(name) for each in self.stream.inputs),
            push=tuple(each.for_stream(name) for each in self.stream.push),
        )


@frozen(kw_only=True)
class VodConfig:
    """A location of media files: C{file://NAME/PATH} is PATH under the first storage that has it.

    @ivar name: a checked name. @ivar storages: absolute folders, in order. @ivar auth: who may play them.
    """

    name: str
    storages: tuple[str, ...]
    auth: AuthConfig = NO_RULES
    place: Place = field(default=NOWHERE, eq=False, repr=False)


@frozen(kw_only=True)
class SourceConfig:
    """A node whose streams this node restreams.

    @ivar host: lower case name or IP address without brackets. @ivar port: its HTTP or HTTPS port.
    @ivar tls: whether the links to it are TLS.
    @ivar cluster_key: its own or the global one; never empty.
    @ivar only: white list of names and C{prefix/*}; None = not given; empty = nothing is white.
    @ivar except_: black list of names and C{prefix/*}.
    @ivar prefix: only its streams C{prefix/NAME} are taken, as NAME; empty = all, under their own names.
    @ivar priority: as in L{InputConfig}.
    @ivar segment_count, source_timeout, clients_timeout, retry_limit, prepush, protocols, url_prefix, backup,
        push, auth, dvr, cache: as in L{StreamConfig}, for every stream taken.
    """

    host: str
    port: int = DEFAULT_HTTP_PORT
    tls: bool = False
    cluster_key: str = field(repr=False)
    only: tuple[str, ...] | None = None
    except_: tuple[str, ...] = ()
    prefix: str = ""
    priority: int = field(default=0, eq=False)
    segment_count: int = DEFAULT_SEGMENT_COUNT
    source_timeout: float = DEFAULT_SOURCE_TIMEOUT
    clients_timeout: float = DEFAULT_CLIENTS_TIMEOUT
    retry_limit: int | None = None
    prepush: float | None = None
    protocols: frozenset[str] | None = None
    url_prefix: str = ""
    backup: BackupConfig | None = None
    push: tuple[PushConfig, ...] = ()
    auth: AuthConfig = NO_RULES
    dvr: DvrConfig | None = None
    cache: CacheConfig | None = None
    place: Place = field(default=NOWHERE, eq=False, repr=False)

    @property
    def key(self) -> tuple[str, int]:
        """What makes two sources the same node."""
        return (self.host, self.port)

    @override
    def __str__(self) -> str:
        return f"{_shown_host(self.host)}:{self.port}"


@frozen(kw_only=True)
class PeerConfig:
    """A neighbour that viewers are sent to for streams it has and this node has not.

    @ivar host: lower case name or IP address without brackets. @ivar port: its HTTP or HTTPS port.
    @ivar tls: whether links to it are TLS.
    @ivar public: what viewers are sent to, C{http://HOST:PORT} or C{https://HOST:PORT}, lower case, no
        path; empty = the node itself as links reach it (see L{public_url}).
    @ivar cluster_key: its own or the global one; never empty.
    """

    host: str
    port: int = DEFAULT_HTTP_PORT
    tls: bool = False
    public: str = ""
    cluster_key: str = field(repr=False)
    place: Place = field(default=NOWHERE, eq=False, repr=False)

    @property
    def key(self) -> tuple[str, int]:
        """What makes two peers the same node."""
        return (self.host, self.port)

    @property
    def public_url(self) -> str:
        """What viewers are sent to: scheme, host and port, without a C{/} at the end."""
        return self.public or f"{'https' if self.tls else 'http'}://{self}"

    @property
    def public_host(self) -> str:
        """The host of L{public_url} as it stands in a URL (IPv6 in brackets)."""
        return self.public_url.partition("://")[2].rpartition(":")[0]

    @override
    def __str__(self) -> str:
        return f"{_shown_host(self.host)}:{self.port}"


@frozen(kw_only=True)
class BalancerConfig:
    """A name under which viewers are spread over peers: C{/NAME/STREAM/…} leads to C{/STREAM/…} of one.

    @ivar name: a checked name.
    @ivar mode: C{clients}, C{bitrate}, C{usage} or C{streams}: what the peer with the least of is chosen by.
    @ivar peers: peers of the configuration, each with its C{max_bitrate} in bits per second; None = not given
        (never with C{usage}).
    """

    name: str
    mode: str = "clients"
    peers: tuple[tuple[PeerConfig, int | None], ...]
    place: Place = field(default=NOWHERE, eq=False, repr=False)


@frozen(kw_only=True)
class Configuration:
    """A whole file with everything it includes.

    @ivar http, https, rtmp, rtmps, rtsp, rtsps: listeners in file order.
    @ivar ssl_certificate, ssl_certificate_key: absolute paths of PEM files; empty when there is no C{https}
        and the like.
    @ivar ssl_ca: absolute path of a PEM file: what links over TLS trust; empty = what the system trusts.
    @ivar cluster_key: shared secret of node-to-node links; empty = none are accepted.
    @ivar loglevel: C{none debug info notice warning error alert critical}.
    @ivar state_dir: absolute folder for what outlives a restart; empty = nothing is kept.
    @ivar streams, templates, vods: by name, in file order. @ivar sources: in order of preference.
    @ivar peers: in file order. @ivar balancers: by name, in file order. @ivar dvrs: places for archives.
    @ivar view_auth, edit_auth: who may ask the API; None = nobody is known. @ivar session_log: the journal.
    @ivar event_sinks: in file order. @ivar auth_backends: by name, in file order.
    @ivar geoip: absolute path of a database of countries; empty = none.
    @ivar forwarded_for: networks of proxies whose C{X-Forwarded-For} is believed.
    @ivar workers: processes that serve viewers beside this one; 0 = none, L{AUTO} = one for each processor.
    @ivar drain_time: seconds a process that was replaced goes on serving who is connected.
    @ivar auth_token: field of queries that has a viewer's token, beside C{token}; empty = none.
    """

    http: tuple[Listen, ...] = ()
    https: tuple[Listen, ...] = ()
    rtmp: tuple[Listen, ...] = ()
    rtmps: tuple[Listen, ...] = ()
    rtsp: tuple[Listen, ...] = ()
    rtsps: tuple[Listen, ...] = ()
    ssl_certificate: str = ""
    ssl_certificate_key: str = ""
    ssl_ca: str = ""
    cluster_key: str = field(default="", repr=False)
    loglevel: str = "info"
    state_dir: str = ""
    streams: Mapping[str, StreamConfig] = field(factory=dict)
    templates: Mapping[str, TemplateConfig] = field(factory=dict)
    vods: Mapping[str, VodConfig] = field(factory=dict)
    sources: tuple[SourceConfig, ...] = ()
    peers: tuple[PeerConfig, ...] = ()
    balancers: Mapping[str, BalancerConfig] = field(factory=dict)
    dvrs: Mapping[str, DvrStoreConfig] = field(factory=dict)
    view_auth: LoginConfig | None = None
    edit_auth: LoginConfig | None = None
    session_log: JournalConfig = field(factory=JournalConfig)
    event_sinks: tuple[EventSinkConfig, ...] = ()
    auth_backends: Mapping[str, AuthBackendConfig] = field(factory=dict)
    geoip: str = ""
    forwarded_for: tuple[Network, ...] = ()
    workers: int = 0
    drain_time: float = DEFAULT_DRAIN_TIME
    auth_token: str = ""
