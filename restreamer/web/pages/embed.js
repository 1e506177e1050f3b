"use strict";
// The page is /NAME/embed.html, so the stream's playlists are its neighbours. It tries LL-HLS, HLS and DASH in
// this order, or what ?proto=ll-hls, hls, dash or ll-dash says, and stays with what played; ?token= is handed on.
// It never gives up: whatever keeps it from playing is said, and looked at again after a pause.
const PAUSES = [1, 2, 3, 5, 8, 10];
// A way that has shown nothing for so long gives way to the next one.
const PATIENCE_MS = 12000;
const ASK_MS = 15000;
// Seconds: a picture that stands for so long at a hole is brought over it, or is said to wait; one that stands
// while the stream went on by so much has its player nudged, and is stuck when it went on by so much more.
const HOLE = 1.5;
const STANDING = 3;
const NUDGE = 3;
const STUCK = 12;
const CLOCK = "/-/time";
const WAYS = [
  { proto: "ll-hls", file: "index.ll.m3u8", library: "/-/hls.min.js", play: playWithHls },
  { proto: "hls", file: "index.m3u8", library: "/-/hls.min.js", play: playWithHls },
  { proto: "dash", file: "index.mpd", library: "/-/dash.mediaplayer.min.js", play: playWithDash },
  { proto: "ll-dash", file: "index.ll.mpd", library: "/-/dash.mediaplayer.min.js", play: playWithDash },
];
const USUAL = 3;
const URLS = [
  ["Low-latency HLS", "index.ll.m3u8"],
  ["HLS", "index.m3u8"],
  ["DASH", "index.mpd"],
  ["MPEG-TS", "mpegts"],
  ["FLV", "live.flv"],
  ["This page", "embed.html"],
];

const WAITING = "Waiting for the stream…";
const TEXTS = {
  offline: "There is no such stream now. Waiting for it…",
  refused: "You may not watch this stream.",
  unreachable: "The server cannot be reached. Trying again…",
  unplayable: "The stream does not play in this browser. Trying again…",
};
const video = document.getElementById("video");
const note = document.getElementById("note");
const delay = document.getElementById("delay");
const sound = document.getElementById("sound");
const links = document.getElementById("links");
const query = new URLSearchParams(location.search);
const wanted = WAYS.filter((way) => way.proto === query.get("proto"));
const ways = wanted.length ? wanted : WAYS.slice(0, USUAL);
const streamName = decodeURIComponent(location.pathname).split("/").slice(1, -1).join("/");
const loaded = new Map();
let current = null;
let clockOffset = 0;
// What is said while it plays: of tracks that this browser cannot play.
let partly = "";

function say(text, state) {
  if (note.textContent !== text) note.textContent = text;
  document.body.dataset.state = state;
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
      script.onerror = () => { loaded.delete(library); script.remove(); failed(new Error(library)); };
      document.head.appendChild(script);
    }));
  }
  return loaded.get(library);
}

// Ends after so many seconds, or as soon as the network is there again.
function pause(seconds) {
  return new Promise((done) => {
    const over = () => {
      clearTimeout(timer);
      self.removeEventListener("online", over);
      done();
    };
    const timer = setTimeout(over, seconds * 1000);
    self.addEventListener("online", over);
  });
}

// Status (0: nothing answered) and text of a file beside the page.
async function ask(file) {
  try {
    const reply = await fetch(address(file), { cache: "no-store", signal: AbortSignal.timeout(ASK_MS) });
    return { status: reply.status, text: await reply.text() };
  } catch (error) {
    return { status: 0, text: "" };
  }
}

function verdict(status) {
  if (status === 0) return { state: "unreachable", text: TEXTS.unreachable };
  if (status === 401 || status === 403) return { state: "refused", text: TEXTS.refused };
  if (status === 404 || status === 410) return { state: "offline", text: TEXTS.offline };
  return { state: "unreachable", text: `The server cannot serve the stream now (${status}). Trying again…` };
}

function lackingText(lack) {
  return `This browser cannot play the codecs of this stream: ${[...lack.video, ...lack.audio].join(", ")}.`;
}

// Why the stream cannot be played, or { state: "ready", from: the first way that is there }. Where the playlist
// that was asked for names no codecs, C{thorough} asks others.
async function examine(thorough) {
  let worst = null;
  for (const [from, way] of ways.entries()) {
    const { status, text } = await ask(way.file);
    if (status === 200) {
      const lack = codecs.lacking(await codecsOf(text, thorough));
      partly = "";
      if (lack.nothing) return { state: "codecs", text: lackingText(lack), from };
      if (lack.video.length) partly = `No picture: this browser cannot play ${lack.video.join(", ")}.`;
      if (lack.audio.length) partly = `No sound: this browser cannot play ${lack.audio.join(", ")}.`;
      return { state: "ready", text: "", from, lack };
    }
    if (worst === null || worst === 404) worst = status;
  }
  return verdict(worst);
}

async function codecsOf(text, thorough) {
  const found = codecs.said(text);
  if (found.length || !thorough) return found;
  const path = streamName.split("/").map(encodeURIComponent).join("/");
  for (const file of [`/streamer/api/v3/streams/${path}`, "index.mpd"]) {
    const { status, text: other } = await ask(file);
    const said = status === 200 ? codecs.said(other) : [];
    if (said.length) return said;
  }
  return [];
}

// Play one way until it ends: { played, why, status }.
async function play(way) {
  try {
    await load(way.library);
  } catch (error) {
    return { played: false, why: "network", status: 0 };
  }
  return new Promise((done) => {
    let played = false;
    let over = false;
    let patience = 0;
    const onPlaying = () => {
      played = true;
      document.body.dataset.proto = way.proto;
      say(partly, "playing");
    };
    const end = (result) => {
      if (over) return;
      over = true;
      clearTimeout(patience);
      video.removeEventListener("playing", onPlaying);
      if (current) current.stop();
      current = null;
      done({ played, ...result });
    };
    video.addEventListener("playing", onPlaying);
    // Not within the player's own event: it is stopped here.
    const ended = (result) => setTimeout(end, 0, result);
    const player = way.play(video, address(way.file), ended);
    if (!player) {
      end({ why: "codecs" });
      return;
    }
    current = { ...player, ended, stand: null };
    patience = setTimeout(() => {
      if (!played && video.readyState < video.HAVE_CURRENT_DATA) ended({ why: "silent" });
    }, PATIENCE_MS);
  });
}

// All ways from one on, until one has played: its result, and the way to begin with next time.
async function playAny(from) {
  let result = null;
  for (let step = 0; step < ways.length; step += 1) {
    const index = (from + step) % ways.length;
    result = await play(ways[index]);
    if (result.played) {
      const another = result.why === "media" || result.why === "codecs" || result.why === "stuck";
      return { ...result, next: another ? (index + 1) % ways.length : index };
    }
  }
  return { ...result, next: 0 };
}

async function attend() {
  let failures = 0;
  let first = 0;
  let thorough = false;
  for (;;) {
    let found = await examine(thorough);
    if (found.state === "ready") {
      const result = await playAny(Math.max(first, found.from));
      first = result.next;
      if (result.played) {
        failures = 0;
        found = result.status ? verdict(result.status) : { state: "waiting", text: WAITING };
      } else {
        found = await examine(true);
        const lack = found.lack;
        if (found.state === "ready" && (lack.video.length || lack.audio.length)) {
          found = { state: "codecs", text: lackingText(lack) };
        } else if (found.state === "ready") {
          found = { state: "unplayable", text: TEXTS.unplayable };
        }
      }
    }
    thorough = found.state === "codecs";
    // What comes next is another stream: no way has failed with that.
    if (thorough || found.state === "offline") first = 0;
    say(found.text, found.state);
    await pause(PAUSES[Math.min(failures, PAUSES.length - 1)]);
    failures += 1;
  }
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

// Where what is held goes on when the picture stands at the end of a part of it: NaN when there is no more.
// hls.js 1.7.4 stays before holes of which it held a piece that is gone from the list now.
function beyondHole() {
  const held = video.buffered;
  for (let index = 0; index + 1 < held.length; index += 1) {
    const left = held.end(index) - video.currentTime;
    if (held.start(index) <= video.currentTime && left > -0.1 && left < 0.5) return held.start(index + 1);
  }
  return NaN;
}

// Say so when the picture stands; begin anew when it stands and the stream does not. A player that has nothing
// to show still leaps after the stream: that is no going on.
function watch() {
  if (!current || document.body.dataset.proto === undefined) return;
  if (video.paused) {
    current.stand = null;
    return;
  }
  const now = performance.now() / 1000;
  const stand = current.stand;
  const shows = video.readyState >= video.HAVE_CURRENT_DATA;
  if (!stand || (shows && stand.at !== video.currentTime)) {
    if (stand && document.body.dataset.state === "standing") say(partly, "playing");
    current.stand = { at: video.currentTime, since: now, edge: current.edge(), nudged: false };
  } else if (now - stand.since > HOLE && beyondHole() > video.currentTime) {
    // A little more: what begins is not always shown from its first moment on.
    video.currentTime = beyondHole() + 0.05;
  } else if (now - stand.since > STANDING && document.body.dataset.state === "playing") {
    say(WAITING, "standing");
  } else if (current.edge() - stand.edge > STUCK) {
    current.ended({ why: "stuck" });
  } else if (current.nudge && !stand.nudged && current.edge() - stand.edge > NUDGE) {
    stand.nudged = true;
    current.nudge();
  }
}

function show() {
  const seconds = current && !video.paused ? (Date.now() + clockOffset) / 1000 - current.moment() : NaN;
  delay.textContent = Number.isFinite(seconds) ? `${seconds.toFixed(1)} s behind` : "";
  sound.hidden = !video.muted || video.paused || document.body.dataset.state !== "playing" || partly.startsWith("No sound");
  watch();
}

// The addresses that answer, to be copied.
async function showLinks() {
  const box = document.getElementById("urls");
  const shown = await Promise.all(URLS.map(async ([label, file]) => {
    try {
      const reply = await fetch(address(file), { method: "HEAD", signal: AbortSignal.timeout(ASK_MS) });
      return reply.ok ? [label, address(file)] : null;
    } catch (error) {
      return null;
    }
  }));
  box.replaceChildren(...shown.filter(Boolean).map(([label, url]) => {
    const line = document.createElement("label");
    const field = document.createElement("input");
    field.readOnly = true;
    field.value = url;
    field.addEventListener("focus", () => field.select());
    const copy = document.createElement("button");
    copy.type = "button";
    copy.textContent = "Copy";
    copy.addEventListener("click", () => {
      field.select();
      // The newer way is there for pages under https:// only.
      if (document.execCommand("copy")) copy.textContent = "Copied";
    });
    line.append(label, field, copy);
    return line;
  }));
}

document.title = streamName || "Live";
links.hidden = self.top !== self;
links.addEventListener("toggle", () => { if (links.open) showLinks(); });
sound.addEventListener("click", () => { video.muted = false; show(); });
video.addEventListener("volumechange", show);
say("Loading…", "loading");
setClock();
setInterval(show, 500);
attend();
