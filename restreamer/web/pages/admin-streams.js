import { clear, copyButton, count, dot, h, path, rate, size, span, table } from "./admin-dom.js";
import { ask, get, query, streamPath } from "./admin-api.js";

function state(stats) {
  if (stats.alive) return [dot(stats.backup_running ? "warn" : "good"), stats.backup_running ? "backup" : "running"];
  if (stats.status === "running") return [dot("warn"), "no frames"];
  return [dot("bad"), stats.status || "waiting"];
}

function origin(stream) {
  const active = (stream.inputs || []).find((input) => input.stats.active);
  if (active) return active.url;
  return stream.stats.source_id || (stream.inputs && stream.inputs.length ? "none of " + stream.inputs.length : "–");
}

export function showStreams(main, _, { say }) {
  const find = h("input", { type: "search", autocomplete: "off", "aria-label": "Find a stream", placeholder: "Find" });
  const sort = h("select", { "aria-label": "Order" },
    h("option", { value: "name" }, "by name"),
    h("option", { value: "-stats.online_clients,name" }, "by viewers"),
    h("option", { value: "-stats.bitrate,name" }, "by bitrate"),
    h("option", { value: "stats.alive,name" }, "troubles first"));
  const list = h("div", {});
  const pages = h("nav", { class: "bar", "aria-label": "Pages of the list" });
  let cursor = "";
  let begun = false;

  function again() {
    refresh().catch((error) => say(error.message));
  }

  async function refresh() {
    const told = await get("streams" + query({ q: find.value, sort: sort.value, cursor, limit: 100 }));
    if (!begun) {
      begun = true;
      clear(main, h("div", { class: "bar" }, h("h2", {}, "Streams"), find, sort), list, pages);
    }
    clear(list, table([
      { head: "Stream", kind: "name", cell: (each) => h("a", { href: "#/stream" + path(each.name) }, each.title || each.name) },
      { head: "State", cell: (each) => state(each.stats) },
      { head: "Input", kind: "name few", cell: (each) => origin(each) },
      { head: "Bitrate", kind: "number", cell: (each) => rate(each.stats.bitrate) },
      { head: "Viewers", kind: "number", cell: (each) => String(each.stats.online_clients || 0) },
      { head: "Delay", kind: "number few", title: "age of the newest frame",
        cell: (each) => each.stats.alive ? (each.stats.ts_delay || 0) + " ms" : "–" },
      { head: "Up", kind: "number few", cell: (each) => each.stats.lifetime ? span(each.stats.lifetime / 1000) : "–" },
      { head: "Archive", kind: "number few", cell: (each) => each.stats.dvr_info ? span(each.stats.dvr_info.depth || 0) : "–" },
    ], told.streams, find.value ? "No stream is called like that." : "There are no streams. Publish one over RTMP, or configure one."));
    clear(pages,
      told.prev && h("button", { type: "button", onclick: () => { cursor = told.prev; again(); } }, "Previous"),
      told.next && h("button", { type: "button", onclick: () => { cursor = told.next; again(); } }, "Next"),
      h("span", { class: "dim" }, count(told.estimated_count, "stream")));
  }

  for (const field of [find, sort]) field.addEventListener("input", () => { cursor = ""; again(); });
  return { refresh };
}

const PORTS = { http: 80, https: 443, rtmp: 1935, rtmps: 443, rtsp: 554, rtsps: 322 };
const LOOPBACK = /^(127\..*|::1|localhost)$/;

// Where the page itself is asked is one more way to the same port: behind a proxy it is the only one.
function listener(each) {
  const host = location.hostname;
  const own = each.address && !LOOPBACK.test(each.address) ? each.address : host;
  if (each.address && LOOPBACK.test(each.address) && !LOOPBACK.test(host.replace(/^\[|\]$/g, ""))) return null;
  const shown = own.includes(":") && !own.startsWith("[") ? "[" + own + "]" : own;
  return each.protocol + "://" + shown + (each.port === PORTS[each.protocol] ? "" : ":" + each.port) + "/";
}

// Only what there is: ports that the node listens on, protocols that the stream is played by.
function urls(stream, listeners) {
  const name = stream.name;
  const base = location.origin + path(name);
  const played = (word) => !stream.protocols || stream.protocols.includes(word);
  const found = [];
  if (played("hls")) {
    found.push(["HLS", base + "/index.m3u8"], ["LL-HLS", base + "/index.ll.m3u8"], ["HLS, CMAF", base + "/index.fmp4.m3u8"]);
  }
  if (played("dash")) found.push(["DASH", base + "/index.mpd"]);
  if (played("mpegts")) found.push(["MPEG-TS", base + "/mpegts"]);
  if (played("flv")) found.push(["HTTP-FLV", base + "/live.flv"]);
  for (const each of listeners) {
    const place = listener(each);
    if (place && played(each.protocol.slice(0, 4)) && !each.protocol.startsWith("http")) {
      found.push([each.protocol.toUpperCase(), place + path(name).slice(1)]);
    }
  }
  if (played("hls") || played("dash")) {
    found.push(["Page", base + "/embed.html"],
      ["Embed", '<iframe src="' + base + '/embed.html" allowfullscreen width="640" height="360"></iframe>']);
  }
  return found;
}

function inputs(stream) {
  return table([
    { head: "", cell: (each) => dot(each.stats.active ? "good" : each.stats.last_error ? "bad" : "") },
    { head: "Input", kind: "name", cell: (each) => each.url },
    { head: "State", cell: (each) => each.stats.state },
    { head: "Frames", kind: "number", cell: (each) => String(each.stats.frames || 0) },
    { head: "Errors", kind: "number", cell: (each) => String(each.stats.errors || 0) },
    { head: "Last error", kind: "name", cell: (each) => each.stats.last_error || "" },
  ], stream.inputs || [], "It has no inputs now.");
}

function facts(stream) {
  const stats = stream.stats;
  const tracks = (stats.media_info && stats.media_info.tracks) || [];
  const shown = tracks.map((track) => [track.track_id, track.codec, track.width && track.width + "×" + track.height,
    track.fps && track.fps + " fps", track.sample_rate && track.sample_rate + " Hz", track.bitrate && rate(track.bitrate)]
    .filter(Boolean).join(" "));
  const pairs = [
    ["State", state(stats)],
    ["Bitrate", rate(stats.bitrate)],
    ["Delay", stats.alive ? (stats.ts_delay || 0) + " ms" : "–"],
    ["Taken", size(stats.bytes_in)],
    ["Sent", size(stats.bytes_out)],
    ["Input switches", String(stats.input_switches || 0)],
    ["Tracks", shown.join(", ") || "–"],
  ];
  if (stats.source_id) pairs.push(["From source", stats.source_id]);
  return h("table", {}, h("tbody", {}, pairs.map(([key, value]) => h("tr", {}, h("th", { scope: "row" }, key), h("td", {}, value)))));
}

export function showStream(main, name, { say, go }) {
  const about = h("div", {});
  const parts = h("div", {});
  const stop = h("button", { type: "button", class: "danger" }, "Stop");
  stop.addEventListener("click", async () => {
    if (!confirm("Stop " + name + "? A publisher is sent away; inputs begin again.")) return;
    try {
      await ask("POST", streamPath(name) + "/stop");
      say(name + " was stopped");
    } catch (error) {
      say(error.message);
    }
  });
  let begun = false;

  async function refresh() {
    const stream = await get(streamPath(name));
    if (!begun) {
      const { listeners } = await get("config/stats");
      if (begun) return;
      begun = true;
      const preview = h("iframe", { class: "preview", src: path(name) + "/embed.html", title: "Preview of " + name, allow: "autoplay" });
      clear(main,
        h("div", { class: "bar" }, h("h2", {}, stream.title || name), h("a", { href: "#/sessions" + path(name) }, "Viewers"),
          h("a", { href: "#/archive" + path(name) }, "Archive"), stop),
        h("div", { class: "split" }, h("div", {}, preview, parts), h("div", {}, about, h("h3", {}, "Play it"),
          h("div", { class: "urls" }, urls(stream, listeners || []).map(([kind, url]) => h("label", {}, kind,
            h("input", { readonly: true, value: url }), copyButton(url)))))));
    }
    clear(about, facts(stream));
    clear(parts, h("h3", {}, "Inputs"), inputs(stream));
  }

  return { refresh, go };
}
