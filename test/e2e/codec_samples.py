"""Files of every codec for the tests: made once by ffmpeg, kept in the cache folder of L{test.e2e.samples}.

Some need a newer ffmpeg than distributions have (Enhanced RTMP, several audio tracks in FLV): L{newer_ffmpeg}
finds one where the C{imageio-ffmpeg} package is installed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Final

from attrs import frozen

from test.e2e.samples import FFMPEG, MissingToolError, cache_folder

#: Encoder and its options for each codec, keyframes every C{GOP} frames.
VIDEO: Final = {
    "h264": "libx264 -preset ultrafast -pix_fmt yuv420p -bf 2 -g GOP -sc_threshold 0",
    "hevc": "libx265 -preset ultrafast -pix_fmt yuv420p -x265-params "
    "log-level=error:keyint=GOP:min-keyint=GOP:bframes=2:scenecut=0:open-gop=0",
    "av1": "libaom-av1 -cpu-used 8 -usage realtime -row-mt 1 -g GOP -pix_fmt yuv420p",
    "vp9": "libvpx-vp9 -deadline realtime -cpu-used 8 -g GOP -pix_fmt yuv420p",
    "mpeg2": "mpeg2video -g GOP -bf 2 -sc_threshold 1000000000",
}
AUDIO: Final = {
    "aac": "aac -ac 2",
    "mp3": "libmp3lame -ac 2",
    "mp2": "mp2 -ac 2",
    "opus": "libopus -ac 2",
    "opus51": "libopus -ac 6",
    "ac3": "ac3 -ac 2",
    "ac351": "ac3 -ac 6",
    "eac3": "eac3 -ac 2",
    "eac351": "eac3 -ac 6",
    "ulaw": "pcm_mulaw -ar 8000 -ac 1",
    "alaw": "pcm_alaw -ar 8000 -ac 1",
}
_TONES: Final = (440, 660, 880, 1100)


@frozen(kw_only=True)
class CodecSample:
    """A recipe.

    @ivar video: a key of L{VIDEO} or empty. @ivar audio: keys of L{AUDIO}, one for each track.
    @ivar languages: ISO 639-2 of the audio tracks, as many as are given. @ivar suffix: C{mp4}, C{ts}, C{mkv},
        C{flv}. @ivar seconds, size, rate, gop: of the picture. @ivar options: further output options.
    @ivar newer: an ffmpeg that knows Enhanced RTMP is needed to write it.
    """

    video: str = ""
    audio: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    suffix: str = "mp4"
    seconds: int = 4
    size: str = "320x180"
    rate: int = 25
    gop: int = 25
    options: tuple[str, ...] = ()
    newer: bool = False

    def command(self, ffmpeg: str, path: str) -> list[str]:
        """The command that writes this sample to C{path}."""
        command = [ffmpeg, "-hide_banner", "-loglevel", "error", "-nostdin", "-y"]
        if self.video:
            source = f"testsrc2=size={self.size}:rate={self.rate}:duration={self.seconds}"
            command += ["-f", "lavfi", "-i", source]
        for tone, _ in zip(_TONES, self.audio, strict=False):
            source = f"sine=frequency={tone}:sample_rate=48000:duration={self.seconds}"
            command += ["-f", "lavfi", "-i", source]
        count = bool(self.video) + len(self.audio)
        for index in range(count):
            command += ["-map", str(index)]
        if self.video:
            command += ["-c:v", *VIDEO[self.video].replace("GOP", str(self.gop)).split(), "-threads", "2"]
        for index, name in enumerate(self.audio):
            encoder, *options = AUDIO[name].split()
            command += [f"-c:a:{index}", encoder]
            for option, value in zip(options[::2], options[1::2], strict=True):
                command += [f"{option}:a:{index}", value]
        for index, language in enumerate(self.languages):
            command += [f"-metadata:s:a:{index}", f"language={language}"]
        if self.suffix == "flv":
            command += ["-flvflags", "no_duration_filesize"]
        elif self.suffix == "mp4" and self.video == "hevc":
            command += ["-tag:v", "hvc1"]
        return [*command, *self.options, path]


def newer_ffmpeg() -> str | None:
    """The path of an ffmpeg that reads and writes Enhanced RTMP, or None when there is none here."""
    try:
        return str(import_module("imageio_ffmpeg").get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None


def make(sample: CodecSample) -> Path:
    """The file of C{sample}, made first if it is not in the cache.

    @raise MissingToolError: no ffmpeg that can make it is installed.
    """
    ffmpeg = newer_ffmpeg() if sample.newer else FFMPEG
    if ffmpeg is None:
        raise MissingToolError("an ffmpeg with Enhanced RTMP" if sample.newer else "ffmpeg is not installed")
    digest = hashlib.sha256(" ".join(sample.command("ffmpeg", "OUT")).encode()).hexdigest()[:12]
    path = cache_folder() / f"{digest}.{sample.suffix}"
    if not path.exists():
        partial = path.with_name(f"{digest}.{os.getpid()}.partial.{sample.suffix}")
        subprocess.run(sample.command(ffmpeg, str(partial)), check=True, timeout=180)
        partial.rename(path)
    return path
