"""The vocabulary of configuration files: which words each block serves, and which are known but not served.

A known word is one that files written for other servers of this family hold; it is skipped with a warning.
Any other word is an error. The tables are data: documentation and tests are checked against them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

FILE, HTTP, STREAM, TEMPLATE, LIVE, VOD, SOURCE, INPUT = (
    "file",
    "http",
    "stream",
    "template",
    "live",
    "vod",
    "source",
    "input",
)


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
    INPUT: "the options of an input",
}
"""How a message names the inside of each block."""

_STREAM_OPTIONS = (
    "clients_timeout",
    "comment",
    "disabled",
    "input",
    "password",
    "segment_count",
    "segment_duration",
    "source_timeout",
    "static",
    "title",
    "url",
)

SERVED: Mapping[str, frozenset[str]] = {
    FILE: _words("""
        cluster_key file http include live loglevel ondemand rtmp source state_dir stream template vod
        """),
    HTTP: frozenset(["api", "include"]),
    STREAM: frozenset([*_STREAM_OPTIONS, "include", "template"]),
    TEMPLATE: frozenset([*_STREAM_OPTIONS, "include", "prefix"]),
    LIVE: frozenset([*_STREAM_OPTIONS, "include"]),
    VOD: frozenset(["include", "path", "paths", "storage"]),
    SOURCE: _words("clients_timeout cluster_key except include only segment_count source_timeout"),
    INPUT: frozenset(["source_timeout"]),
}
"""Words that have their effect, by block."""

_KNOWN_STREAM = _words(
    """
        add_audio_only allowed_countries audio_timeout auth backup cache chunk_duration cluster_ingest
        cmaf disallowed_countries domains drm dvbocr dvr epg_enabled frames_timeout hls_scte35
        jpeg_snapshot_sign_key labels max_retry_timeout max_sessions meta mpegts_ac3 mpegts_pids on_play
        on_publish playback_headers position prepush protocols provider publish_enabled push
        recheck_secondary_inputs_interval retry_limit segment_headers session_keys soft_limitation
        thumbnails transcoder url_prefix video_timeout webrtc_abr
        """
)

KNOWN: Mapping[str, frozenset[str]] = {
    FILE: _words(
        """
        auth_backend auth_token balancer cache config_external dvb_card dvr edit_auth event_sink https
        iptv logrequests mysql no_auto_token notify peer pulsedb rewrite rproxy rtmps rtsp rtsps
        segment_cache session_log sip snmp srt transcoder transponder turn view_auth vision vsaas
        web_script workers
        """
    ),
    HTTP: frozenset(["read_timeout", "write_timeout"]),
    STREAM: _KNOWN_STREAM,
    TEMPLATE: _KNOWN_STREAM,
    LIVE: _KNOWN_STREAM,
    VOD: _words(
        """
        allowed_countries auth cache comment disabled disallowed_countries domains download max_sessions
        on_play playback_headers protocols read_queue session_keys soft_limitation thumbnails url_prefix
        """
    ),
    SOURCE: _words(
        """
        add_audio_only audio_timeout auth backup cache chunk_duration cluster_ingest drm dvr
        group_config labels max_sessions mpegts_pids on_play on_publish playback_headers prefix prepush
        protocols push retry_limit segment_duration session_keys thumbnails transcoder url_prefix
        video_timeout
        """
    ),
    INPUT: _words(
        """
        allow_if audio_timeout bitrate connect_timeout deny_if frames_timeout headers max_retry_timeout
        no_clients_reconnect_delay pids pnr priority program programs retry_limit skip_stalled_check
        timeout tracks user_agent via video_timeout
        """
    ),
}
"""Words that are skipped with a warning, by block."""

SERVED_SCHEMES = frozenset(["file", "m4f", "publish"])
"""URL schemes an input may have."""

KNOWN_SCHEMES = _words(
    """
        copy fake hls hls2 hlss hlss2 http https m4fs m4s m4ss mixer playlist rtmp rtmps rtp rtsp
        rtsp-udp rtsp2 rtsps shoutcast srt timeshift tshttp tshttps tstcp udp udp1 udp2 udp3
        """
)
"""URL schemes whose inputs are skipped with a warning."""

SOURCE_SCHEMES = frozenset(["m4f", "m4fs", "m4s", "m4ss"])
"""Schemes that may stand before the host of a source; only m4f is served."""

SECRET_WORDS = frozenset(["cluster_key", "edit_auth", "password", "view_auth"])
"""Words whose arguments are never shown."""

EXAMPLE_KEYS = frozenset(["restreamer-demo-key", "replace-this-by-a-long-random-key"])
"""Cluster keys of the shipped files: no secrets."""

GUARDS = _words(
    """
        allowed_countries auth auth_backend disallowed_countries domains drm edit_auth max_sessions
        no_auto_token on_play on_publish protocols session_keys view_auth
        """
)
"""Known words that keep somebody out: without them the door is open, so the warning says so."""

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
