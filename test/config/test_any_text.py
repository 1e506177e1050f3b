"""Whatever the text, a configuration or a ConfigError; and what is written is read back the same."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.config.auth_model import AuthConfig
from restreamer.config.excerpt import describe
from restreamer.config.include import decode
from restreamer.config.load import Loaded, parse
from restreamer.config.model import (
    BackupConfig,
    BalancerConfig,
    CacheConfig,
    Configuration,
    DvrConfig,
    InputConfig,
    Listen,
    PeerConfig,
    PushConfig,
    SourceConfig,
    StreamConfig,
    TemplateConfig,
    VodConfig,
)
from restreamer.config.words import BALANCER_MODES, KNOWN, PROTOCOLS, SERVED
from restreamer.errors import ConfigError

MODEST = settings(deadline=None, max_examples=300, derandomize=True, database=None)

_WORDS = sorted({word for words in (*SERVED.values(), *KNOWN.values()) for word in words})
_PIECES = st.one_of(
    st.sampled_from(_WORDS),
    st.sampled_from(["publish://", "file://v/x"]),
    st.sampled_from(
        [
            ";",
            ";",
            "{",
            "}",
            "\n",
            " ",
            '"',
            "\\",
            "#",
            "publish://",
            "file://v/x",
            "m4f://h/x",
            "m4f://[::1]/%s",
        ]
    ),
    st.sampled_from(["80", "false", "[::1]:80", "a/*", "name", "source_timeout=3", "priority=", '"a b"']),
    st.sampled_from(["v/x", "timeout=1", "m4fs://h/%s", "rtmp://h/a/b", "-hls", "rtmp", "max_bitrate=1M"]),
    st.text(max_size=4),
)
_TEXTS = st.lists(st.tuples(_PIECES, st.sampled_from(["", " ", " ", " "])), max_size=25).map(
    lambda pairs: "".join(piece + space for piece, space in pairs)
)

_PART = st.text("abcXYZ019_", min_size=1, max_size=5)
_NAME = st.lists(_PART, min_size=1, max_size=3).map("/".join)
_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=12)
_SECRET = _TEXT.filter(bool)
#: Eight characters at least.
_KEY = _TEXT.map(lambda text: f"01234567{text}")
_SECONDS = st.sampled_from([0.0, 0.1, 1.5, 10.0, 86400.0])
_HOST = st.sampled_from(["origin", "a.b-c", "192.0.2.7", "::1", "2001:db8::2"])
_INPUTS = st.lists(
    st.one_of(
        st.builds(
            lambda t: InputConfig(url="publish://", scheme="publish", source_timeout=t), st.none() | _SECONDS
        ),
        st.builds(lambda p: InputConfig(url=f"file://v/{p}", scheme="file", host="v", path=p), _NAME),
    ),
    max_size=3,
    unique_by=lambda each: each.url,
).map(tuple)
_BACKUP = st.none() | st.builds(
    BackupConfig,
    path=_NAME.map("v/".__add__),
    timeout=st.none() | st.sampled_from([0.1, 10.0]),
    audio_timeout=st.none() | st.sampled_from([0.5, 60.0]),
    video_timeout=st.none() | st.sampled_from([2.0]),
    dvr=st.booleans(),
    transcode=st.booleans(),
)
_PUSHES = st.lists(
    st.builds(
        lambda host, name, tls: PushConfig(
            url=f"m4f{'s' if tls else ''}://{bracketed(host)}:8000/{name}",
            scheme="m4fs" if tls else "m4f",
            host=host,
            port=8000,
            path=name,
            tls=tls,
            cluster_key="0123456789abcdef",
        ),
        _HOST,
        _NAME,
        st.booleans(),
    ),
    max_size=2,
    unique_by=lambda each: each.url,
).map(tuple)
_SHARED: dict[str, st.SearchStrategy[Any]] = {
    "retry_limit": st.none() | st.integers(1, 1_000_000),
    "prepush": st.none() | st.sampled_from([0.0, 0.5, 60.0]),
    "protocols": st.none() | st.sets(st.sampled_from(sorted(PROTOCOLS)), min_size=1).map(frozenset),
    "url_prefix": st.sampled_from(["", "/a", "https://cdn.example.net/x"]),
    "backup": _BACKUP,
    "push": _PUSHES,
    "auth": st.builds(
        AuthConfig,
        on_play=st.sampled_from(["", "http://a.example/x?k=1", "securetoken://0123456789abcdef"]),
        domains=st.sampled_from([(), ("a.example",), ("a.example", "*.b.example")]),
        max_sessions=st.integers(0, 1_000_000),
        soft_limitation=st.booleans(),
        auto_token=st.booleans(),
        session_keys=st.sampled_from([AuthConfig().session_keys, ("name", "ip", "proto", "user_agent")]),
        grace=st.none() | st.sampled_from([0.0, 0.5, 60.0]),
    ),
    "dvr": st.none()
    | st.builds(
        DvrConfig,
        root=st.sampled_from(["/dvr/a", "/dvr/b"]),
        depth=st.none() | st.integers(60, 999_999),
        size=st.none() | st.integers(10, 10**6).map((10**6).__mul__),
        percent=st.none() | st.integers(1, 99),
        replicate=st.booleans(),
        replication_port=st.none() | st.integers(1, 65535),
    ),
    "cache": st.none()
    | st.builds(
        CacheConfig,
        root=st.sampled_from(["/cache/a", "/cache/b"]),
        age=st.none() | st.integers(60, 999_999),
        size=st.none() | st.integers(10, 10**6).map((10**6).__mul__),
        misses=st.integers(0, 1000),
    ),
}
_STREAM = st.builds(
    StreamConfig,
    **_SHARED,
    name=_NAME,
    title=_TEXT,
    comment=_TEXT,
    inputs=_INPUTS,
    static=st.booleans(),
    segment_duration=st.integers(1, 30),
    segment_count=st.integers(3, 100),
    source_timeout=_SECONDS,
    clients_timeout=_SECONDS,
    password=st.just("") | _SECRET,
    disabled=st.booleans(),
)
_PATTERNS = st.lists(_NAME | _NAME.map(lambda each: each + "/*"), max_size=3, unique=True).map(tuple)
_SOURCE = st.builds(
    SourceConfig,
    **_SHARED,
    tls=st.booleans(),
    prefix=st.just("") | _NAME,
    host=_HOST,
    port=st.integers(1, 65535),
    cluster_key=_KEY,
    only=st.none() | _PATTERNS,
    except_=_PATTERNS,
    segment_count=st.integers(3, 100),
    source_timeout=_SECONDS,
    clients_timeout=_SECONDS,
)
_PEERS = st.lists(
    st.builds(
        PeerConfig,
        host=_HOST,
        port=st.integers(1, 65535),
        tls=st.booleans(),
        public=st.sampled_from(["", "http://[::1]:80", "https://cdn.example.net:443"]),
        cluster_key=_KEY,
    ),
    min_size=1,
    max_size=2,
    unique_by=lambda each: each.key,
).map(tuple)
_CONFIGURATION = st.builds(
    lambda streams, templates, sources, peers, mode, most, **rest: Configuration(
        peers=peers,
        balancers={"l/b": BalancerConfig(name="l/b", mode=mode, peers=tuple((each, most) for each in peers))},
        streams={each.name: each for each in streams},
        templates={
            each.name: TemplateConfig(name=each.name, prefix=each.name, stream=each) for each in templates
        },
        vods={"v": VodConfig(name="v", storages=("/srv/a b", "/srv/c"))},
        sources=tuple(sources),
        **rest,
    ),
    streams=st.lists(_STREAM, max_size=3, unique_by=lambda each: each.name),
    templates=st.lists(_STREAM, max_size=2, unique_by=lambda each: each.name),
    sources=st.lists(_SOURCE, max_size=2, unique_by=lambda each: each.key),
    peers=_PEERS,
    mode=st.sampled_from(BALANCER_MODES),
    most=st.sampled_from([1, 40_000_000]),
    https=st.just((Listen(port=443), Listen(address="::1", port=444, api=False))),
    ssl_certificate=st.just("/c d.pem"),
    ssl_certificate_key=st.sampled_from(["/c d.pem", "/k.pem"]),
    ssl_ca=st.sampled_from(["", "/ca.pem"]),
    http=st.just((Listen(port=80), Listen(address="::1", port=81, api=False))),
    rtmp=st.just((Listen(address="127.0.0.1", port=1935),)),
    cluster_key=st.just("0123456789abcdef"),
    loglevel=st.sampled_from(["none", "debug", "alert"]),
    state_dir=st.sampled_from(["", "/var/lib/x y"]),
)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def render_shared(config: StreamConfig | SourceConfig) -> list[str]:
    lines = [f"  push {each.url};" for each in config.push]
    if config.protocols is not None:
        lines.append(f"  protocols {' '.join(sorted(config.protocols))};")
    if config.backup is not None:
        backup = config.backup
        options = [f"{each}={str(getattr(backup, each)).lower()}" for each in ("dvr", "transcode")]
        for name in ("timeout", "audio_timeout", "video_timeout"):
            if getattr(backup, name) is not None:
                options.append(f"{name}={getattr(backup, name)}")
        lines.append(f"  backup {backup.path} {' '.join(options)};")
    for name in ("retry_limit", "prepush"):
        if getattr(config, name) is not None:
            lines.append(f"  {name} {getattr(config, name)};")
    if config.url_prefix:
        lines.append(f"  url_prefix {quoted(config.url_prefix)};")
    lines += render_auth(config.auth)
    if config.dvr is not None:
        dvr = config.dvr
        limits = render_limits(dvr.depth, dvr.size, dvr.percent)
        port = f" replication_port={dvr.replication_port}" if dvr.replication_port else ""
        lines.append(f"  dvr {dvr.root}{limits} replicate={str(dvr.replicate).lower()}{port};")
    if config.cache is not None:
        cache = config.cache
        lines.append(f"  cache {cache.root}{render_limits(cache.age, cache.size)} misses={cache.misses};")
    return lines


def render_auth(auth: AuthConfig) -> list[str]:
    lines = [f"  session_keys {' '.join(reversed(auth.session_keys))};"]
    lines.append(f"  max_sessions {auth.max_sessions};")
    lines.append(f"  soft_limitation {str(auth.soft_limitation).lower()};")
    lines.append(f"  no_auto_token {str(not auth.auto_token).lower()};")
    lines.append(f"  on_play {quoted(auth.on_play or 'false')};")
    lines.append(f"  domains {' '.join(auth.domains) or 'false'};")
    if auth.grace is not None:
        lines.append(f"  auth_grace {auth.grace or 'false'};")
    return lines


def render_limits(depth: int | None, size: int | None, percent: int | None = None) -> str:
    parts = [
        f" {depth}s" if depth is not None else "",
        f" {size // 10**6}M" if size is not None else "",
        f" {percent}%" if percent is not None else "",
    ]
    return "".join(parts)


def render_stream(word: str, stream: StreamConfig, extra: str = "") -> str:
    lines = [f"{word} {stream.name} {{ {extra}"]
    for each in stream.inputs:
        option = "" if each.source_timeout is None else f" source_timeout={each.source_timeout}"
        lines.append(f"  input {each.url}{option};")
    for name in ("title", "comment", "password"):
        if getattr(stream, name):
            lines.append(f"  {name} {quoted(getattr(stream, name))};")
    for name in ("segment_duration", "segment_count", "source_timeout", "clients_timeout"):
        lines.append(f"  {name} {getattr(stream, name)};")
    lines += render_shared(stream)
    lines.append(f"  static {str(stream.static).lower()}; disabled {str(stream.disabled).lower()}; }}")
    return "\n".join(lines)


def render(configuration: Configuration) -> str:
    lines = [f"http {each} {{ api {str(each.api).lower()}; }}" for each in configuration.http]
    lines += [f"https {each} {{ api {str(each.api).lower()}; }}" for each in configuration.https]
    lines += [f"rtmp {each};" for each in configuration.rtmp]
    lines.append(f"loglevel {configuration.loglevel};")
    for name in ("cluster_key", "state_dir", "ssl_certificate", "ssl_certificate_key", "ssl_ca"):
        if getattr(configuration, name):
            lines.append(f"{name} {quoted(getattr(configuration, name))};")
    for vod in configuration.vods.values():
        lines.append(f"vod {vod.name} {{ {' '.join(f'storage {quoted(each)};' for each in vod.storages)} }}")
    lines += [render_stream("stream", each) for each in configuration.streams.values()]
    for template in configuration.templates.values():
        lines.append(render_stream("template", template.stream, f"prefix {template.prefix};"))
    for source in configuration.sources:
        scheme = "https://" if source.tls else ""
        lines.append(f"source {scheme}{source} {{ cluster_key {quoted(source.cluster_key)};")
        lines += render_shared(source)
        if source.prefix:
            lines.append(f"  prefix {source.prefix};")
        if source.only is not None:
            lines.append(f"  only {' '.join(source.only)};")
        lines += [f"  except {each};" for each in source.except_]
        for name in ("segment_count", "source_timeout", "clients_timeout"):
            lines.append(f"  {name} {getattr(source, name)};")
        lines.append("}")
    for peer in configuration.peers:
        public = f"public {peer.public};" if peer.public else ""
        scheme = "m4fs://" if peer.tls else "m4f://"
        lines.append(f"peer {scheme}{peer} {{ cluster_key {quoted(peer.cluster_key)}; {public} }}")
    for balancer in configuration.balancers.values():
        members = " ".join(f"peer {peer} max_bitrate={most};" for peer, most in balancer.peers)
        lines.append(f"balancer {balancer.name} {{ mode {balancer.mode}; {members} }}")
    return "\n".join(lines)


class AnyTextTests(SynchronousTestCase):
    def check(self, text: str) -> None:
        try:
            found = parse(text)
        except ConfigError as error:
            self.assertTrue(0 <= error.line <= text.count("\n") + 1)
            self.assertTrue(error.column >= 0 and bool(error.expected))
            self.assertIn(error.path, describe(error, text))
        else:
            self.assertIsInstance(found, Loaded)

    @MODEST
    @given(st.text(max_size=60))
    def test_text(self, text: str) -> None:
        self.check(text)

    @MODEST
    @given(_TEXTS)
    def test_words(self, text: str) -> None:
        self.check(text)

    @MODEST
    @given(st.binary(max_size=60))
    def test_bytes(self, data: bytes) -> None:
        try:
            self.check(decode(data, "f"))
        except ConfigError as error:
            self.assertTrue(error.found.startswith("byte 0x"))

    def test_every_cut_of_a_right_text(self) -> None:
        text = 'http 80;\nstream "a" { input publish:// source_timeout=1; title "a\\"b"; } # c\nlive l { }\n'
        parse(text)
        for end in range(len(text)):
            self.check(text[:end])
            self.check(text[end:])

    @settings(MODEST, max_examples=100)
    @given(_CONFIGURATION)
    def test_written_is_read_back(self, configuration: Configuration) -> None:
        self.assertEqual(parse(render(configuration)).configuration, configuration)
