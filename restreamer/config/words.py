"""The vocabulary of configuration files: which words each block serves, and which are known but not served.

A known word is one that files written for other servers of this family hold; it is skipped with a warning.
Any other word is an error. The tables are data: documentation and tests are checked against them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

FILE, HTTP, STREAM, TEMPLATE, LIVE, VOD, SOURCE = (
    "file",
    "http",
    "stream",
    "template",
    "live",
    "vod",
    "source",
)
PEER, BALANCER = "peer", "balancer"
DVR_STORE, DVR_OPTIONS, CACHE_OPTIONS = "dvr", "dvr option", "cache option"
EVENT_SINK = "event_sink"
AUTH_BACKEND = "auth_backend"
INPUT, BACKUP, PUSH, MEMBER = "input", "backup", "push", "member"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


BLOCK_TITLES: Mapping[str, str] = {
    FILE: "the top level",
    HTTP: "an http block",
    STREAM: "a stream block",
    TEMPLATE: "a template block",
    LIVE: "a live block",
    VOD: "a vod block",
    SOURCE: "a source block",
    PEER: "a peer block",
    BALANCER: "a balancer block",
    INPUT: "the options of an input",
    BACKUP: "the options of a backup",
    PUSH: "the options of a push",
    MEMBER: "the options of a peer of a balancer",
    DVR_STORE: "a dvr block",
    EVENT_SINK: "an event_sink block",
    AUTH_BACKEND: "an auth_backend block",
    DVR_OPTIONS: "the options of a dvr",
    CACHE_OPTIONS: "the options of a cache",
}
"""How a message names the inside of each block."""

VIEWING_OPTIONS = _words("""
    allowed_countries auth_grace disallowed_countries domains max_sessions no_auto_token on_play session_keys
    soft_limitation
    """)
"""Options that say who may play; of streams, templates, sources and VODs."""

SHARED_OPTIONS = VIEWING_OPTIONS | _words("backup cache dvr prepush protocols push retry_limit url_prefix")
"""Options that a stream and a source have alike."""

_STREAM_OPTIONS = (
    *SHARED_OPTIONS,
    "clients_timeout",
    "comment",
    "disabled",
    "input",
    "on_publish",
    "password",
    "segment_count",
    "segment_duration",
    "chunk_duration",
    "source_timeout",
    "static",
    "title",
    "url",
)

SERVED: Mapping[str, frozenset[str]] = {
    FILE: _words("""
        auth_backend auth_token balancer cluster_key drain_time dvr dvr_spool edit_auth event_sink file
        forwarded_for geoip http https include live loglevel no_auto_token ondemand peer rtmp rtmps rtsp
        rtsps session_log source ssl_ca ssl_certificate ssl_certificate_key state_dir stream template
        view_auth vod workers
        """),
    HTTP: frozenset(["api", "include"]),
    STREAM: frozenset([*_STREAM_OPTIONS, "include", "template"]),
    TEMPLATE: frozenset([*_STREAM_OPTIONS, "include", "prefix"]),
    LIVE: frozenset([*_STREAM_OPTIONS, "include"]),
    VOD: VIEWING_OPTIONS | _words("include path paths storage"),
    SOURCE: SHARED_OPTIONS
    | _words("""
        clients_timeout cluster_key except include only prefix priority segment_count source_timeout
        """),
    PEER: frozenset(["cluster_key", "include", "public"]),
    BALANCER: frozenset(["include", "mode", "peer"]),
    INPUT: frozenset(["priority", "program", "source_timeout", "sources", "transport", "user_agent"]),
    BACKUP: _words("audio_timeout dvr timeout transcode video_timeout"),
    PUSH: _words("bitrate fourcc loop multicast_loop pids pnr provider service ttl"),
    MEMBER: frozenset(["max_bitrate"]),
    DVR_STORE: frozenset(["copy", "fsync_interval", "include", "root"]),
    EVENT_SINK: _words(
        "except include max_depth max_size only resend_limit resend_timeout throttle_delay url"
    ),
    AUTH_BACKEND: _words("allow backend deny include"),
    DVR_OPTIONS: frozenset(["copy", "copy_depth", "replicate", "replication_port"]),
    CACHE_OPTIONS: frozenset(["misses"]),
}
"""Words that have their effect, by block."""

_KNOWN_STREAM = _words(
    """
        add_audio_only audio_timeout auth cluster_ingest cmaf drm dvbocr epg_enabled frames_timeout hls_scte35
        jpeg_snapshot_sign_key labels max_retry_timeout meta mpegts_ac3 mpegts_pids
        playback_headers position provider publish_enabled recheck_secondary_inputs_interval
        segment_headers thumbnails transcoder video_timeout webrtc_abr
        """
)

KNOWN: Mapping[str, frozenset[str]] = {
    FILE: _words(
        """
        cache config_external dvb_card
        iptv logrequests mysql notify pulsedb rewrite rproxy
        segment_cache sip snmp srt transcoder transponder turn vision vsaas
        web_script
        """
    ),
    HTTP: frozenset(["read_timeout", "write_timeout"]),
    STREAM: _KNOWN_STREAM,
    TEMPLATE: _KNOWN_STREAM,
    LIVE: _KNOWN_STREAM,
    VOD: _words(
        """
        auth cache comment disabled download
        playback_headers protocols read_queue thumbnails url_prefix
        """
    ),
    SOURCE: _words(
        """
        add_audio_only audio_timeout auth chunk_duration cluster_ingest drm group_config labels
        mpegts_pids on_publish playback_headers segment_duration thumbnails
        transcoder video_timeout
        """
    ),
    PEER: _words(
        """
        api_url channel_limit cpu_limit fetch_timeout hostname max_bitrate private_payload_url
        public_payload_url stale_timeout
        """
    ),
    BALANCER: frozenset(["countries", "countries_default"]),
    INPUT: _words(
        """
        allow_if audio_timeout bitrate connect_timeout deny_if frames_timeout headers max_retry_timeout
        no_clients_reconnect_delay pids pnr programs retry_limit skip_stalled_check
        timeout tracks via video_timeout
        """
    ),
    BACKUP: frozenset(),
    PUSH: frozenset(["comment", "connect_timeout", "disabled", "retry_limit", "retry_timeout", "timeout"]),
    MEMBER: frozenset(),
    DVR_STORE: _words("active disk disks index raid schedule"),
    EVENT_SINK: _words("level verbose"),
    AUTH_BACKEND: frozenset(),
    DVR_OPTIONS: _words("episodes_expiration episodes_url index keep_locks no_index schedule"),
    CACHE_OPTIONS: frozenset(),
}
"""Words that are skipped with a warning, by block."""

SERVED_SCHEMES = _words(
    """
        file hls hlss http https m4f m4fs publish rtmp rtmps rtsp rtsp-udp rtsp2 rtsps tshttp tshttps udp
        """
)
"""URL schemes an input may have."""

KNOWN_SCHEMES = _words(
    """
        copy fake hls2 hlss2 m4s m4ss mixer playlist rtp shoutcast srt timeshift tstcp udp1 udp2 udp3
        """
)
"""URL schemes whose inputs are skipped with a warning."""

NODE_SCHEMES: Mapping[str, bool] = {"m4f": False, "http": False, "m4fs": True, "https": True}
"""Schemes that may stand before the host of a source or peer, and whether each is TLS."""

KNOWN_NODE_SCHEMES = frozenset(["m4s", "m4ss"])
"""Schemes whose sources and peers are left out with a warning."""

NODE_PUSH_SCHEMES = frozenset(["m4f", "m4fs"])
"""URL schemes of a push into another node."""

PUSH_SCHEMES = NODE_PUSH_SCHEMES | {"rtmp", "rtmps", "udp"}
"""URL schemes of a push."""

KNOWN_PUSH_SCHEMES = _words("hls hlss m4s m4ss srt tshttp tshttps udp1 udp2 udp3")
"""URL schemes whose pushes are skipped with a warning."""

PROTOCOLS = frozenset(["dash", "flv", "hls", "m4f", "mpegts", "rtmp", "rtsp"])
"""Protocols that C{protocols} switches."""

PROTOCOL_ALIASES: Mapping[str, str] = {"tshttp": "mpegts"}
"""Other words for some of them."""

KNOWN_PROTOCOLS = _words("api cmaf jpeg m4s mp4 mseld mss player shoutcast srt webrtc")
"""Protocols of others, which nobody can play here whatever is said of them."""

BALANCER_MODES = ("clients", "bitrate", "usage", "streams")
"""What the peer with the least of is chosen by."""

SECRET_WORDS = frozenset(["cluster_key", "edit_auth", "password", "view_auth"])
"""Words whose arguments are never shown."""

HIDDEN_WORDS = SECRET_WORDS | {"allow", "auth", "backend", "deny", "on_play", "on_publish"}
"""Those, and words whose arguments often hold a token."""

EXAMPLE_KEYS = _words(
    """
        choose-a-long-random-key choose-a-long-random-token replace-this-by-a-long-random-key
        restreamer-demo-key
    """
)
"""Keys of the shipped files: no secrets."""

EVERYBODY_KNOWS = "it is the one of the examples, which everybody knows"

GUARDS = _words(
    """
        auth drm on_publish protocols
        """
)
"""Known words that keep somebody out: without them the door is open, so the warning says so."""

CERTIFICATES = ("ssl_certificate", "ssl_certificate_key", "ssl_ca")
"""Words that name a PEM file."""

LISTENERS = ("http", "https", "rtmp", "rtmps", "rtsp", "rtsps")
"""Words that open a port."""

TLS_LISTENERS = ("https", "rtmps", "rtsps")
"""Those that need a certificate."""

LOG_LEVELS = ("none", "debug", "info", "notice", "warning", "error", "alert", "critical")

NOT_SERVED = "not served yet, it has no effect"
GUARD_NOT_SERVED = "not served yet: nobody is kept out by it"
CUT_AT_INGEST = "segments keep the duration their ingest node gave them, it has no effect here"


def why_skipped(block: str, word: str) -> str:
    """The sentence that warns of a known C{word}."""
    if block == SOURCE and word == "segment_duration":
        return CUT_AT_INGEST
    return GUARD_NOT_SERVED if word in GUARDS else NOT_SERVED


def nearest(word: str, block: str) -> str | None:
    """The word of C{block} that C{word} was probably meant to be."""
    found = difflib.get_close_matches(
        word[:64].lower(), sorted(SERVED[block] | KNOWN[block]), n=1, cutoff=0.7
    )
    return found[0] if found else None


def allowed_instead(word: str, block: str) -> str:
    """What to expect where C{word} is unknown: the nearest word, where it belongs, and the whole list."""
    near = nearest(word, block)
    homes = [BLOCK_TITLES[each] for each in SERVED if word in SERVED[each]]
    hint = ""
    if near is not None:
        hint = f" (did you mean {near}?)"
    elif homes:
        hint = f" ({word} belongs in {' or '.join(homes)})"
    return f"a word of {BLOCK_TITLES[block]}{hint}: {', '.join(sorted(SERVED[block]))}"
