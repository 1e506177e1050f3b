"""Media the end-to-end tests and the benchmarks publish: made once by ffmpeg, kept in a cache folder.

The recipes are deterministic (test pattern and sine, fixed GOP, closed GOPs), so a file made once stands for
every later run of the same recipe; the file name carries a digest of the command that made it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from attrs import frozen

FFMPEG = shutil.which("ffmpeg")
FFPROBE = shutil.which("ffprobe")


class MissingToolError(Exception):
    """A program the samples need is not installed."""


@frozen(kw_only=True)
class Sample:
    """A recipe for an FLV file.

    @ivar seconds: length. @ivar size: C{WxH}; @ivar rate: frames/s; @ivar gop: frames from keyframe to
        keyframe.
    @ivar bframes: consecutive B-frames at most. @ivar video_kbps: constant bit rate of the video, with
        filler, 0 for no video. @ivar audio: C{"aac"}, C{"mp3"} or C{""} for none; @ivar audio_kbps: its bit
        rate.
    @ivar sample_rate: of the audio, Hz. @ivar tone: of the sine, Hz.
    """

    seconds: int = 20
    size: str = "640x360"
    rate: int = 25
    gop: int = 25
    bframes: int = 3
    video_kbps: int = 500
    audio: str = "aac"
    audio_kbps: int = 64
    sample_rate: int = 48_000
    tone: int = 440

    def command(self, path: str) -> list[str]:
        """The ffmpeg command that writes this sample to C{path}."""
        command = [FFMPEG or "ffmpeg", "-hide_banner", "-loglevel", "error", "-y"]
        if self.video_kbps:
            source = f"testsrc2=size={self.size}:rate={self.rate}:duration={self.seconds}"
            command += ["-f", "lavfi", "-i", source]
        if self.audio:
            source = f"sine=frequency={self.tone}:sample_rate={self.sample_rate}:duration={self.seconds}"
            command += ["-f", "lavfi", "-i", source]
        if self.video_kbps:
            bits = f"{self.video_kbps}k"
            command += [
                *("-c:v", "libx264", "-preset", "veryfast", "-profile:v", "high", "-pix_fmt", "yuv420p"),
                *("-bf", str(self.bframes), "-g", str(self.gop), "-keyint_min", str(self.gop)),
                *("-sc_threshold", "0", "-b:v", bits, "-minrate", bits, "-maxrate", bits),
                *("-bufsize", bits, "-x264-params", "nal-hrd=cbr:force-cfr=1:open-gop=0", "-threads", "2"),
            ]
        if self.audio:
            codec = {"aac": "aac", "mp3": "libmp3lame"}[self.audio]
            command += ["-c:a", codec, "-b:a", f"{self.audio_kbps}k", "-ac", "2"]
        return [*command, "-f", "flv", "-flvflags", "no_duration_filesize", path]


#: What most tests publish: B-frames, a keyframe every second, stereo AAC.
BFRAMES = Sample()
#: A keyframe as often as most tests' nodes cut segments, and no oftener.
SPARSE_KEYS = Sample(gop=50, audio="", video_kbps=200, size="320x180")
#: Another size, for a change of parameter sets on a running name.
SMALLER = Sample(size="320x180", video_kbps=250, bframes=2)
AUDIO_ONLY = Sample(video_kbps=0)
VIDEO_ONLY = Sample(audio="")
MP3 = Sample(audio="mp3", sample_rate=44_100)
#: About 1 Mbit/s on the wire, as in published comparisons of media servers.
MEGABIT = Sample(seconds=60, size="854x480", gop=50, bframes=0, video_kbps=910)


def cache_folder() -> Path:
    """Where samples are kept (C{XDG_CACHE_HOME} when set, else the user's own folder below the system's
    temporary one)."""
    base = os.environ.get("XDG_CACHE_HOME")
    folder = Path(base) if base else Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
    folder = folder / "restreamer-samples"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def make(sample: Sample) -> Path:
    """The file of C{sample}, made first if it is not in the cache.

    @raise MissingToolError: ffmpeg is not installed.
    """
    if FFMPEG is None:
        raise MissingToolError("ffmpeg is not installed")
    digest = hashlib.sha256(" ".join(sample.command("OUT")).encode()).hexdigest()[:12]
    path = cache_folder() / f"{digest}.flv"
    if not path.exists():
        partial = path.with_name(f"{digest}.{os.getpid()}.partial")
        subprocess.run(sample.command(str(partial)), check=True, timeout=180)
        partial.rename(path)
    return path


def byte_rate(sample: Sample) -> float:
    """Bytes per second of C{sample} as an FLV file: close to what an RTMP viewer receives."""
    return make(sample).stat().st_size / sample.seconds
