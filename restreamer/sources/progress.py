"""Whether what feeds a stream still gives all it should."""

from __future__ import annotations

from attrs import define, frozen


@frozen
class Progress:
    """What a stream has taken so far: numbers that rise.

    @ivar frames: frames of all tracks; @ivar video, @ivar audio: by kind.
    @ivar has_video, @ivar has_audio: the stream has such a track.
    """

    frames: int
    video: int = 0
    audio: int = 0
    has_video: bool = False
    has_audio: bool = False


@define
class ProgressWatch:
    """When each kind of frame last came, as of the looks taken."""

    _last: Progress = Progress(0)
    _frames_at: float = 0.0
    _video_at: float = 0.0
    _audio_at: float = 0.0

    def begin(self, now: float, progress: Progress) -> None:
        """Count from here."""
        self._last = progress
        self._frames_at = self._video_at = self._audio_at = now

    def see(self, now: float, progress: Progress) -> None:
        """Look."""
        last = self._last
        if progress.frames != last.frames:
            self._frames_at = now
        if progress.video != last.video:
            self._video_at = now
        if progress.audio != last.audio:
            self._audio_at = now
        self._last = progress

    def silent_for(self, now: float) -> float:
        """Seconds since frames were last seen to come."""
        return now - self._frames_at

    def lack(
        self, now: float, timeout: float | None, audio_timeout: float | None, video_timeout: float | None
    ) -> str | None:
        """What has not come for its time, in words; None when nothing is amiss.

        @param timeout, audio_timeout, video_timeout: seconds; None: not looked at.
        """
        last = self._last
        if timeout is not None and now - self._frames_at >= timeout:
            return f"no frame for {timeout:g} s"
        if audio_timeout is not None and last.has_audio and now - self._audio_at >= audio_timeout:
            return f"no audio for {audio_timeout:g} s"
        if video_timeout is not None and last.has_video and now - self._video_at >= video_timeout:
            return f"no video for {video_timeout:g} s"
        return None
