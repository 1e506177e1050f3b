"use strict";
// The page is /NAME/embed.html, so the stream's playlist is its neighbour.
const RETRY_MS = 3000;
const WAITING = "Waiting for the stream…";
const REFUSALS = {
  403: "You may not watch this stream.",
  404: "There is no such stream now. Waiting for it…",
};
const video = document.getElementById("video");
const note = document.getElementById("note");
const token = new URLSearchParams(location.search).get("token");
const playlist = new URL("index.m3u8", location.href);
playlist.search = token ? "?token=" + encodeURIComponent(token) : "";
playlist.hash = "";
document.title = decodeURIComponent(location.pathname).split("/").slice(1, -1).join("/") || "Live";

function say(text) {
  note.textContent = text;
}

function playNatively() {
  video.src = playlist.href;
  video.addEventListener("error", () => {
    say(WAITING);
    setTimeout(() => { video.src = playlist.href; }, RETRY_MS);
  });
}

function playWithHls() {
  const hls = new Hls({ liveSyncDurationCount: 2, backBufferLength: 30 });
  let recoveries = 0;
  hls.on(Hls.Events.ERROR, (_, data) => {
    if (!data.fatal) return;
    if (data.type === Hls.ErrorTypes.MEDIA_ERROR && recoveries < 3) {
      recoveries += 1;
      hls.recoverMediaError();
      return;
    }
    const status = data.response && data.response.code;
    say(REFUSALS[status] || WAITING);
    hls.destroy();
    setTimeout(playWithHls, RETRY_MS);
  });
  hls.on(Hls.Events.FRAG_BUFFERED, () => { recoveries = 0; });
  hls.loadSource(playlist.href);
  hls.attachMedia(video);
}

video.addEventListener("playing", () => say(""));
say("Loading…");
if (window.Hls && Hls.isSupported()) {
  playWithHls();
} else if (video.canPlayType("application/vnd.apple.mpegurl")) {
  playNatively();
} else {
  say("This browser cannot play live streams.");
}
