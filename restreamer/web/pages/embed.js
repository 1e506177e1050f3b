"use strict";
// The page is /NAME/embed.html, so the stream's playlists are its neighbours. It tries LL-HLS, HLS and DASH in
// this order, or what ?proto=ll-hls, hls, dash or ll-dash says, and stays with what played; ?token= is handed on.
const RETRY_MS = 3000;
const MAX_RECOVERIES = 3;
// A way that has shown nothing for so long gives way to the next one.
const PATIENCE_MS = 12000;
const CLOCK = "/-/time";
const WAYS = [
  { proto: "ll-hls", file: "index.ll.m3u8", library: "/-/hls.min.js", play: playWithHls },
  { proto: "hls", file: "index.m3u8", library: "/-/hls.min.js", play: playWithHls },
  { proto: "dash", file: "index.mpd", library: "/-/dash.mediaplayer.min.js", play: playWithDash },
  { proto: "ll-dash", file: "index.ll.mpd", library: "/-/dash.mediaplayer.min.js", play: playWithDash },
];
const USUAL = 3;

const WAITING = "Waiting for the stream…";
const REFUSALS = {
  403: "You may not watch this stream.",
  404: "There is no such stream now. Waiting for it…",
};
const video = document.getElementById("video");
const note = document.getElementById("note");
const delay = document.getElementById("delay");
const query = new URLSearchParams(location.search);
const wanted = WAYS.filter((way) => way.proto === query.get("proto"));
const ways = wanted.length ? wanted : WAYS.slice(0, USUAL);
const loaded = new Map();
let current = null;
let clockOffset = 0;

document.title = decodeURIComponent(location.pathname).split("/").slice(1, -1).join("/") || "Live";

function say(text) {
  note.textContent = text;
}

function address(file) {
  const url = new URL(file, location.href);
  const token = query.get("token");
  const tracks = query.get("filter.tracks");
  const handed = new URLSearchParams();
  if (token) handed.set("token", token);
  if (tracks) handed.set("filter.tracks", tracks);
  url.search = handed.toString();
  url.hash = "";
  return url.href;
}

function load(library) {
  if (!loaded.has(library)) {
    loaded.set(library, new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = library;
      script.onload = done;
      script.onerror = () => { loaded.delete(library); failed(new Error(library)); };
      document.head.appendChild(script);
    }));
  }
  return loaded.get(library);
}

// A way to play gives { stop(), delay() }: delay in seconds, or NaN while it is not known. It calls
// failed(status) once when it cannot go on, with the HTTP status if that was the trouble.

function playWithHls(url, failed) {
  if (!Hls.isSupported()) {
    if (!video.canPlayType("application/vnd.apple.mpegurl")) return null;
    return playNatively(url, failed);
  }
  const lowLatency = url.includes(".ll.m3u8");
  const hls = new Hls({
    lowLatencyMode: lowLatency,
    backBufferLength: 30,
    ...(lowLatency ? {} : { liveSyncDurationCount: 2 }),
  });
  let recoveries = 0;
  hls.on(Hls.Events.ERROR, (_, data) => {
    if (!data.fatal) return;
    const hopeless = data.details === Hls.ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR;
    if (data.type === Hls.ErrorTypes.MEDIA_ERROR && !hopeless && recoveries < MAX_RECOVERIES) {
      recoveries += 1;
      hls.recoverMediaError();
      return;
    }
    failed(data.response && data.response.code);
  });
  hls.on(Hls.Events.FRAG_BUFFERED, () => { recoveries = 0; });
  hls.loadSource(url);
  hls.attachMedia(video);
  return {
    stop: () => hls.destroy(),
    delay: () => hls.playingDate ? (Date.now() + clockOffset - hls.playingDate.getTime()) / 1000 : NaN,
  };
}

function playNatively(url, failed) {
  const onError = () => failed();
  video.addEventListener("error", onError);
  video.src = url;
  return {
    stop: () => {
      video.removeEventListener("error", onError);
      video.removeAttribute("src");
      video.load();
    },
    delay: () => {
      const begin = video.getStartDate ? video.getStartDate().getTime() : NaN;
      return (Date.now() + clockOffset - begin) / 1000 - video.currentTime;
    },
  };
}

function playWithDash(url, failed) {
  if (!("MediaSource" in window) && !("ManagedMediaSource" in window)) return null;
  const player = dashjs.MediaPlayer().create();
  player.updateSettings({ streaming: { buffer: { bufferToKeep: 30 } } });
  player.on(dashjs.MediaPlayer.events.ERROR, (event) => {
    const response = event.error && event.error.data && event.error.data.response;
    failed(response && response.status);
  });
  player.initialize(video, url, true);
  return {
    stop: () => player.destroy(),
    // Media time is UTC: the node's availabilityStartTime is the epoch.
    delay: () => (video.currentTime > 1e9 ? (Date.now() + clockOffset) / 1000 - video.currentTime : NaN),
  };
}

async function begin(index) {
  const way = ways[index];
  let over = false;
  let played = false;
  const onPlaying = () => { played = true; document.body.dataset.proto = way.proto; say(""); };
  const next = (status) => {
    if (over) return;
    over = true;
    video.removeEventListener("playing", onPlaying);
    if (current) current.stop();
    current = null;
    say(REFUSALS[status] || WAITING);
    if (!played && index + 1 < ways.length) begin(index + 1);
    else setTimeout(begin, RETRY_MS, played ? index : 0);
  };
  try {
    await load(way.library);
  } catch (error) {
    next();
    return;
  }
  video.addEventListener("playing", onPlaying);
  const playing = way.play(address(way.file), (status) => setTimeout(next, 0, status));
  if (playing) current = playing;
  else if (index + 1 < ways.length) next();
  else say("This browser cannot play live streams.");
  if (playing) setTimeout(() => { if (!played && video.readyState < video.HAVE_CURRENT_DATA) next(); }, PATIENCE_MS);
}

async function setClock() {
  try {
    const asked = performance.now();
    const reply = await fetch(CLOCK, { cache: "no-store" });
    const now = Date.parse(await reply.text()) + (performance.now() - asked) / 2;
    if (reply.ok && !Number.isNaN(now)) clockOffset = now - Date.now();
  } catch (error) {
    clockOffset = 0;
  }
}

function showDelay() {
  const seconds = current && !video.paused ? current.delay() : NaN;
  delay.textContent = Number.isFinite(seconds) ? `${seconds.toFixed(1)} s behind` : "";
}

say("Loading…");
setClock();
setInterval(showDelay, 500);
begin(0);
