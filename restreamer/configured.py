"""What the API tells of the configuration in force, without its secrets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, field

from restreamer.config.model import (
    AuthBackendConfig,
    Configuration,
    DvrConfig,
    StreamConfig,
    TemplateConfig,
)
from restreamer.config.secrecy import shown_url
from restreamer.config.words import LISTENERS, TLS_LISTENERS
from restreamer.web.api import ListenerInfo, RecordingInfo, StreamDirectory, StreamInfo
from restreamer.web.v3.configured import AuthBackendInfo, RuleCount, TemplateInfo, UrlInfo, VodInfo


def listeners(configuration: Configuration) -> list[ListenerInfo]:
    """Its ports."""
    return [
        ListenerInfo(
            protocol=word,
            address=each.address,
            port=each.port,
            tls=word in TLS_LISTENERS,
            api=each.api and word in ("http", "https"),
        )
        for word in LISTENERS
        for each in getattr(configuration, word)
    ]


@define
class ConfiguredStreams:
    """A L{StreamDirectory} that knows what streams are configured to be.

    @ivar directory: the streams; @ivar configuration: gives the one in force.
    """

    directory: StreamDirectory
    configuration: Callable[[], Configuration] = field(repr=False)

    def names(self) -> Sequence[str]:
        """The names of all streams."""
        return self.directory.names()

    def info(self, name: str) -> StreamInfo | None:
        """One stream."""
        info = self.directory.info(name)
        config, template = self._config(name) if info is not None else (None, "")
        if info is None or config is None:
            return info
        if config.comment:
            info["comment"] = config.comment
        if template:
            info["template"] = template
        if config.dvr is not None:
            info["dvr"] = _recording(config.dvr)
        return info

    def _config(self, name: str) -> tuple[StreamConfig | None, str]:
        configuration = self.configuration()
        stream = configuration.streams.get(name)
        if stream is not None:
            return stream, stream.template
        takers = [each for each in configuration.templates.values() if each.takes(name)]
        if not takers:
            return None, ""
        template = max(takers, key=lambda each: len(each.prefix))
        return template.stream, template.name


def _recording(config: DvrConfig) -> RecordingInfo:
    told = RecordingInfo(root=config.root)
    if config.depth is not None:
        told["expiration"] = config.depth
    if config.percent is not None:
        told["disk_usage_limit"] = config.percent
    if config.size is not None:
        told["storage_limit"] = config.size
    return told


def templates(configuration: Configuration) -> list[TemplateInfo]:
    """Its templates."""
    return [_template(at, each) for at, each in enumerate(configuration.templates.values())]


def vods(configuration: Configuration) -> list[VodInfo]:
    """Its VOD locations."""
    return [
        VodInfo(
            name=each.name,
            position=at,
            storages=[UrlInfo(url=storage) for storage in each.storages],
            guarded=each.auth.guards,
        )
        for at, each in enumerate(configuration.vods.values())
    ]


def auth_backends(configuration: Configuration) -> list[AuthBackendInfo]:
    """Its auth backends."""
    return [_backend(at, each) for at, each in enumerate(configuration.auth_backends.values())]


def _template(at: int, config: TemplateConfig) -> TemplateInfo:
    stream = config.stream
    told = TemplateInfo(
        name=config.name,
        position=at,
        prefix=config.prefix,
        title=stream.title,
        comment=stream.comment,
        static=stream.static,
        disabled=stream.disabled,
        inputs=[UrlInfo(url=shown_url(each.url)) for each in stream.inputs],
        pushes=[UrlInfo(url=shown_url(each.url)) for each in stream.push],
        segment_duration=stream.segment_duration,
        segment_count=stream.segment_count,
        chunk_duration=stream.chunk_duration,
        source_timeout=stream.source_timeout,
        clients_timeout=stream.clients_timeout,
        url_prefix=stream.url_prefix,
        guarded=stream.auth.guards or bool(stream.password or stream.auth.on_publish),
    )
    if stream.protocols is not None:
        told["protocols"] = sorted(stream.protocols)
    if stream.dvr is not None:
        told["dvr"] = stream.dvr.root
    return told


def _backend(at: int, config: AuthBackendConfig) -> AuthBackendInfo:
    return AuthBackendInfo(
        name=config.name,
        position=at,
        backends=[UrlInfo(url=shown_url(each)) for each in config.backends],
        allow=RuleCount(
            tokens=len(config.allow_tokens),
            ips=len(config.allow_ips),
            countries=len(config.allow_countries),
            user_agents=len(config.allow_agents),
        ),
        deny=RuleCount(
            tokens=len(config.deny_tokens),
            ips=len(config.deny_ips),
            countries=len(config.deny_countries),
            user_agents=len(config.deny_agents),
        ),
        allow_default=config.allow_default,
    )
