"use strict";
// The ways to play. Each is a function (video, url, ended) that gives null where the browser cannot do it, else
// { stop(), moment(), edge() }: the UTC time of what is seen, in seconds, or NaN while it is not known; and how
// far the stream is known to go, in seconds from anywhere, so that one sees whether it goes on. Some also have
// nudge(): begin anew at the live edge, with the same player. It calls
// ended({ why, status }) when it cannot go on: "media", "codecs" or "network", and the HTTP status there was.
const RECOVER_AGAIN_MS = 60000;

function playWithHls(video, url, ended) {
  if (!Hls.isSupported()) {
    return video.canPlayType("application/vnd.apple.mpegurl") ? playNatively(video, url, ended) : null;
  }
  const lowLatency = url.includes(".ll.m3u8");
  const hls = new Hls({
    lowLatencyMode: lowLatency,
    backBufferLength: 30,
    ...(lowLatency ? {} : { liveSyncDurationCount: 2 }),
  });
  const foreign = [
    Hls.ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR,
    Hls.ErrorDetails.BUFFER_ADD_CODEC_ERROR,
    Hls.ErrorDetails.BUFFER_INCOMPATIBLE_CODECS_ERROR,
  ];
  let recovered = -Infinity;
  hls.on(Hls.Events.ERROR, (_, data) => {
    if (!data.fatal) return;
    if (foreign.includes(data.details)) {
      ended({ why: "codecs" });
    } else if (data.type === Hls.ErrorTypes.NETWORK_ERROR) {
      ended({ why: "network", status: data.response && data.response.code });
    } else if (data.type === Hls.ErrorTypes.MEDIA_ERROR && performance.now() - recovered > RECOVER_AGAIN_MS) {
      recovered = performance.now();
      hls.recoverMediaError();
    } else {
      ended({ why: "media" });
    }
  });
  hls.loadSource(url);
  hls.attachMedia(video);
  return {
    stop: () => hls.destroy(),
    moment: () => (hls.playingDate ? hls.playingDate.getTime() / 1000 : NaN),
    edge: () => (hls.latestLevelDetails ? hls.latestLevelDetails.edge : NaN),
    // Behind a break it may wait for ever for the sound, when several parts of it came before the first of the
    // picture was read (hls.js 1.7.4); stopLoad() and startLoad() do not end that. Whole segments may take long to
    // come: those are not begun again.
    nudge: lowLatency ? () => hls.loadSource(url) : null,
  };
}

function playNatively(video, url, ended) {
  const onError = () => ended({ why: video.error && video.error.code === MediaError.MEDIA_ERR_NETWORK ? "network" : "media" });
  video.addEventListener("error", onError);
  video.src = url;
  return {
    stop: () => {
      video.removeEventListener("error", onError);
      video.removeAttribute("src");
      video.load();
    },
    moment: () => (video.getStartDate ? video.getStartDate().getTime() / 1000 + video.currentTime : NaN),
    edge: () => (video.seekable.length ? video.seekable.end(video.seekable.length - 1) : NaN),
  };
}

function playWithDash(video, url, ended) {
  if (!("MediaSource" in self) && !("ManagedMediaSource" in self)) return null;
  const player = dashjs.MediaPlayer().create();
  // It would print what the page says anyway.
  player.updateSettings({ debug: { logLevel: 1 }, streaming: { buffer: { bufferToKeep: 30 } } });
  player.on(dashjs.MediaPlayer.events.ERROR, ({ error }) => {
    const response = error && error.data && error.data.response;
    const media = /mse|media|capability|decode|append/i.test((error && error.message) || "");
    ended({ why: media && !response ? "media" : "network", status: response && response.status });
  });
  player.initialize(video, url, true);
  return {
    stop: () => player.destroy(),
    // Media time is UTC: the node's availabilityStartTime is the epoch.
    moment: () => (video.currentTime > 1e9 ? video.currentTime : NaN),
    edge: () => (video.buffered.length ? video.buffered.end(video.buffered.length - 1) : NaN),
  };
}
