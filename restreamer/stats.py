"""What the API tells of streams, read from the registry when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from restreamer.cluster.remote_streams import RemoteStreams
from restreamer.live.feed import Feed, FeedCounters
from restreamer.live.registry import LiveEntry, StreamRegistry
from restreamer.live.stream import Stream
from restreamer.media.codecs import codec_string
from restreamer.media.timebase import TICKS_PER_MS, TICKS_PER_SECOND, ticks_to_ms
from restreamer.media.track import Track, TrackKind
from restreamer.viewers.points import Publishing
from restreamer.web.api import StreamInfo, StreamStats

#: A stream whose newest frame is older than this is not alive, milliseconds.
ALIVE_MS = 12_000


class NodeStats:
    """A L{restreamer.web.api.StreamDirectory} of a node.

    A configured stream is always listed; one that was published or pulled only while it runs, although its
    window stays playable for C{source_timeout} after that.
    @param configured: names of the configuration, with the title of each and whether it is static.
    @param utc: UTC ticks now.
    """

    def __init__(
        self,
        registry: StreamRegistry,
        remote: RemoteStreams,
        publishing: Publishing,
        configured: Callable[[], dict[str, tuple[str, bool]]],
        utc: Callable[[], int],
    ) -> None:
        self._registry = registry
        self._remote = remote
        self._publishing = publishing
        self._configured = configured
        self._utc = utc

    def names(self) -> Sequence[str]:
        """Names of all streams that run, are configured or can be started."""
        names = {entry.stream.name for entry in self._registry if entry.stream.running}
        names.update(self._registry.supplies())
        names.update(self._configured())
        return tuple(names)

    def info(self, name: str) -> StreamInfo | None:
        """One stream; None when it neither runs nor is configured nor can be started."""
        configured = self._configured()
        entry = self._registry.find(name)
        supplied = self._registry.supply(name) is not None
        running = entry is not None and entry.stream.running
        if not running and not supplied and name not in configured:
            return None
        stats = self._stats(entry) if entry is not None else StreamStats(status="waiting", alive=False)
        source = self._remote.source_of(name)
        stats["remote"] = source is not None
        if source is not None:
            stats["source_id"] = source
        stats["publish_enabled"] = name in self._publishing.publishers()
        title = entry.stream.title if entry is not None else configured.get(name, ("", True))[0]
        return StreamInfo(
            name=name,
            title=title,
            static=configured[name][1] if name in configured else not supplied,
            stats=stats,
        )

    def _stats(self, entry: LiveEntry) -> StreamStats:
        stream = entry.stream
        now = self._utc()
        counted = entry.playout.counters.items()
        stats = StreamStats(
            status="running" if stream.running else "waiting",
            alive=stream.running,
            bytes_in=stream.traffic.bytes_in,
            bytes_out=entry.playout.bytes_out,
            online_clients=entry.playout.viewers,
            segments=stream.traffic.segments,
            backup_running=False,
            play={name: _feed(counters, entry.playout.feeds().get(name)) for name, counters in counted},
            media_info={"tracks": [_track(track) for track in stream.tracks]},
        )
        if stream.run is not None:
            stats["id"] = f"{stream.run.run_id:016x}"
            started = ticks_to_ms(stream.run.run_start)
            stats["opened_at"] = started
            if stream.running:
                stats["start_running_at"] = started
                stats["lifetime"] = max(0, ticks_to_ms(now) - started)
        if stream.last_dts is not None:
            delay = max(0, (now - stream.last_dts) // TICKS_PER_MS)
            stats["last_dts"] = stats["last_dts_at"] = ticks_to_ms(stream.last_dts)
            stats["ts_delay"] = delay
            stats["alive"] = stream.running and delay <= ALIVE_MS
        rate = _bitrate(stream)
        if rate is not None:
            stats["bitrate"] = stats["input_bitrate"] = rate
        return stats


def _bitrate(stream: Stream) -> int | None:
    """kbit/s of the newest closed segment."""
    last = stream.window.last
    if last is None or not last.duration:
        return None
    return len(last.segment.encoded) * 8 * TICKS_PER_SECOND // last.duration // 1000


def _feed(counters: FeedCounters, feed: Feed | None) -> dict[str, Any]:
    """What happened to the viewers of one container; C{flush_interval} is in milliseconds."""
    told: dict[str, Any] = {
        "online_clients": 0,
        "total_clients": counters.joined,
        "skips": counters.skips,
        "dropped": counters.dropped,
        "bytes": counters.bytes_out,
    }
    if feed is not None:
        told.update(
            online_clients=len(feed), bytes=feed.bytes_out, flush_interval=round(feed.flush_interval * 1000)
        )
    return told


def _track(track: Track) -> dict[str, Any]:
    letter = "v" if track.kind is TrackKind.VIDEO else "a"
    info: dict[str, Any] = {
        "track_id": f"{letter}{track.track_id}",
        "content": "video" if track.kind is TrackKind.VIDEO else "audio",
        "codec": codec_string(track),
        "bitrate": track.bandwidth // 1000,
        "language": track.language,
    }
    if track.kind is TrackKind.VIDEO:
        info.update(width=track.width, height=track.height, fps=track.frame_rate / 1000)
    else:
        info.update(sample_rate=track.sample_rate, channels=track.channels)
    return info
