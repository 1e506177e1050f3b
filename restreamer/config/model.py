"""What a configuration file says, as frozen values: nothing here reads files or knows the syntax.

Times are seconds, as in the file; C{segment_ticks} is the one place where they become ticks. A C{place} says
where a value was written; it takes no part in comparison, so that moving a block in the file changes nothing.
These objects stop in the assembly: below it travel plain values.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, field, frozen
from typing_extensions import override

from restreamer.media.timebase import TICKS_PER_SECOND

DEFAULT_HTTP_PORT = 80
DEFAULT_SEGMENT_DURATION = 5
DEFAULT_SEGMENT_COUNT = 4
DEFAULT_SOURCE_TIMEOUT = 60.0
DEFAULT_CLIENTS_TIMEOUT = 60.0
NAME_PLACEHOLDER = "%s"


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
    @ivar api: whether pages and API are answered on it (HTTP only).
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


@frozen(kw_only=True)
class InputConfig:
    """One place a stream can come from.

    @ivar url: as written, with C{%s} still in it when it stands in a template.
    @ivar scheme: C{publish}, C{file} or C{m4f}.
    @ivar host: the node of C{m4f} (lower case, IPv6 without brackets), the VOD name of C{file}, else empty.
    @ivar port: TCP port of C{m4f}, else 0.
    @ivar path: remote stream name of C{m4f}, path inside the VOD of C{file} (relative, no C{..}), else empty.
    @ivar source_timeout: seconds without a frame after which this input is lost; 0 = never;
        None = what the stream says.
    @ivar cluster_key: shared secret of the link, C{m4f} only.
    """

    url: str
    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    source_timeout: float | None = None
    cluster_key: str = field(default="", repr=False)
    place: Place = field(default=NOWHERE, eq=False, repr=False)

    def for_stream(self, name: str) -> InputConfig:
        """This input with C{%s} replaced by the stream's name."""
        if NAME_PLACEHOLDER not in self.url:
            return self
        return evolve(
            self,
            url=self.url.replace(NAME_PLACEHOLDER, name),
            path=self.path.replace(NAME_PLACEHOLDER, name),
        )


@frozen(kw_only=True)
class StreamConfig:
    """One stream, its template's options already merged in.

    @ivar name: a checked stream name. @ivar title: human name, may be empty. @ivar comment: for operators.
    @ivar inputs: in order of preference; may be empty.
    @ivar static: run for ever; False = start at the first viewer. (Publishing is possible either way.)
    @ivar segment_duration: whole seconds, 1-30. @ivar segment_count: segments in a live playlist, 3-100.
    @ivar source_timeout: seconds without a frame after which an input is lost; 0 = never.
    @ivar clients_timeout: on demand only: seconds from the last viewer to the stop; 0 = never stop.
    @ivar password: what a publisher must send; empty = no password.
    @ivar disabled: stays in the file, is not run and refuses publishers and viewers.
    @ivar template: name of the template it took options from, or empty.
    """

    name: str
    title: str = ""
    comment: str = ""
    inputs: tuple[InputConfig, ...] = ()
    static: bool = True
    segment_duration: int = DEFAULT_SEGMENT_DURATION
    segment_count: int = DEFAULT_SEGMENT_COUNT
    source_timeout: float = DEFAULT_SOURCE_TIMEOUT
    clients_timeout: float = DEFAULT_CLIENTS_TIMEOUT
    password: str = field(default="", repr=False)
    disabled: bool = False
    template: str = ""
    place: Place = field(default=NOWHERE, eq=False, repr=False)

    @property
    def segment_ticks(self) -> int:
        """C{segment_duration} in ticks of 90 kHz."""
        return self.segment_duration * TICKS_PER_SECOND

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
        )


@frozen(kw_only=True)
class VodConfig:
    """A location of media files: C{file://NAME/PATH} is PATH under the first storage that has it.

    @ivar name: a checked name. @ivar storages: absolute folders, in order.
    """

    name: str
    storages: tuple[str, ...]
    place: Place = field(default=NOWHERE, eq=False, repr=False)


@frozen(kw_only=True)
class SourceConfig:
    """A node whose streams this node restreams.

    @ivar host: lower case name or IP address without brackets. @ivar port: its HTTP port.
    @ivar cluster_key: its own or the global one; never empty.
    @ivar only: white list of names and C{prefix/*}; None = not given; empty = nothing is white.
    @ivar except_: black list of names and C{prefix/*}.
    @ivar segment_count, source_timeout, clients_timeout: as in L{StreamConfig}, for every stream taken.
    """

    host: str
    port: int = DEFAULT_HTTP_PORT
    cluster_key: str = field(repr=False)
    only: tuple[str, ...] | None = None
    except_: tuple[str, ...] = ()
    segment_count: int = DEFAULT_SEGMENT_COUNT
    source_timeout: float = DEFAULT_SOURCE_TIMEOUT
    clients_timeout: float = DEFAULT_CLIENTS_TIMEOUT
    place: Place = field(default=NOWHERE, eq=False, repr=False)

    @property
    def key(self) -> tuple[str, int]:
        """What makes two sources the same node."""
        return (self.host, self.port)

    @override
    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@frozen(kw_only=True)
class Configuration:
    """A whole file with everything it includes.

    @ivar http, rtmp: listeners in file order.
    @ivar cluster_key: shared secret of node-to-node links; empty = none are accepted.
    @ivar loglevel: C{none debug info notice warning error alert critical}.
    @ivar state_dir: absolute folder for what outlives a restart; empty = nothing is kept.
    @ivar streams, templates, vods: by name, in file order. @ivar sources: in file order (= preference).
    """

    http: tuple[Listen, ...] = ()
    rtmp: tuple[Listen, ...] = ()
    cluster_key: str = field(default="", repr=False)
    loglevel: str = "info"
    state_dir: str = ""
    streams: Mapping[str, StreamConfig] = field(factory=dict)
    templates: Mapping[str, TemplateConfig] = field(factory=dict)
    vods: Mapping[str, VodConfig] = field(factory=dict)
    sources: tuple[SourceConfig, ...] = ()
