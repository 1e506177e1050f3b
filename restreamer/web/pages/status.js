"use strict";
// Everything shown is put into text nodes and attributes by the DOM: nothing is ever parsed as HTML.
const REFRESH_MS = 3000;
const rows = document.getElementById("streams");
const summary = document.getElementById("summary");
const empty = document.getElementById("empty");
const find = document.getElementById("find");
const pages = { next: document.getElementById("next"), prev: document.getElementById("previous") };
let cursor = "";
let timer = 0;
let turn = 0;

function cell(text, className) {
  const element = document.createElement("td");
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

function link(text, href) {
  const element = document.createElement("a");
  element.textContent = text;
  element.href = href;
  return element;
}

function path(name) {
  return "/" + name.split("/").map(encodeURIComponent).join("/");
}

function describe(track) {
  const parts = [track.codec || track.content || "?"];
  if (track.width && track.height) parts.push(track.width + "×" + track.height);
  if (track.fps) parts.push(track.fps + " fps");
  if (track.sample_rate) parts.push(track.sample_rate + " Hz");
  return parts.join(" ");
}

function row(stream) {
  const stats = stream.stats || {};
  const tracks = (stats.media_info && stats.media_info.tracks) || [];
  const line = document.createElement("tr");
  const base = path(stream.name);
  const name = cell("", "name");
  name.append(link(stream.title || stream.name, base + "/embed.html"));
  const play = cell("");
  const links = document.createElement("nav");
  links.append(link("HLS", base + "/index.m3u8"), link("MPEG-TS", base + "/mpegts"));
  play.append(links);
  const state = String(stats.status || "waiting");
  const origin = cell(comesFrom(stats));
  const troubles = (stream.inputs || []).filter((input) => input.stats && input.stats.last_error);
  origin.title = troubles.map((input) => input.url + ": " + input.stats.last_error).join("\n");
  const wrong = faults(stream.inputs || []);
  const errors = cell(wrong.sum === null ? "–" : String(wrong.sum), "number");
  errors.title = wrong.lines.join("\n");
  line.append(
    name,
    cell(state, ["running", "waiting", "error"].includes(state) ? state : ""),
    origin,
    cell(String(stats.online_clients || 0), "number"),
    cell(stats.input_bitrate ? String(stats.input_bitrate) : "–", "number"),
    cell(stats.status === "running" && "ts_delay" in stats ? String(stats.ts_delay) : "–", "number"),
    cell(stats.status === "running" && "lag" in stats ? String(Math.max(0, stats.lag)) : "–", "number"),
    errors,
    archive(stats),
    cell(tracks.map(describe).join(", ") || "–"),
    play,
  );
  return line;
}

function span(seconds) {
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= 2 * size) return Math.floor(seconds / size) + " " + unit;
  }
  return seconds + " s";
}

function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let place = 0;
  for (; count >= 1000 && place < units.length - 1; place++) count /= 1000;
  return (place && count < 100 ? count.toFixed(1) : Math.round(count)) + " " + units[place];
}

// How far back the stream is recorded here.
function archive(stats) {
  const dvr = stats.dvr_info;
  if (!dvr) return cell("–");
  const kept = "depth" in dvr ? span(dvr.depth) + ", " + bytes(dvr.bytes) : "nothing yet";
  const states = { recording: "running", error: "error" };
  const shown = cell(dvr.status === "error" ? "not recorded" : kept, states[dvr.status] || "");
  const lines = [dvr.status];
  if ("from" in dvr) lines.push("from " + new Date(dvr.from * 1000).toLocaleString());
  if (dvr.depth > dvr.duration) lines.push("without " + span(dvr.depth - dvr.duration) + " of gaps");
  if (dvr.segments_dropped) lines.push(dvr.segments_dropped + " segments lost");
  if (dvr.error) lines.push(dvr.error);
  shown.title = lines.join("\n");
  return shown;
}

function volumeRow(volume) {
  const line = document.createElement("tr");
  line.append(
    cell(volume.root, "name"),
    cell(volume.status, volume.status === "working" ? "running" : "error"),
    cell("disk_used_percent" in volume ? String(volume.disk_used_percent) : "–", "number"),
    cell(bytes(volume.disk_free || 0), "number"),
    cell(String(volume.write_kbit), "number"),
    cell(String(volume.lag), "number"),
    cell(bytes(volume.bytes_written), "number"),
    cell(String(volume.segments_dropped), "number"),
    cell(volume.error || (volume.frozen ? "the clock is ahead: ages are counted from an earlier time" : "–")),
  );
  return line;
}

// Where the past is read from, and how fast; nothing while nothing was read.
function readings(answer) {
  const places = { ram: "memory", cache: "cache", local: "disks", s3: "object stores", remote: "sources" };
  const read = Object.entries(answer.reads || {}).filter(([, each]) => each.segments > 0);
  const lines = read.map(([place, each]) =>
    places[place] + " " + each.kbit + " kbit/s (" + bytes(each.bytes) + ")");
  document.getElementById("reads").textContent = lines.length ? "Read from " + lines.join(", ") : "";
  return lines.length > 0;
}

// All errors counted of the inputs, and which they are; the sum is null where nothing counts any.
function faults(inputs) {
  const lines = [];
  let sum = null;
  for (const input of inputs) {
    const counters = (input.stats && input.stats.counters) || {};
    for (const name of Object.keys(counters).filter((each) => each.startsWith("errors_"))) {
      sum = (sum || 0) + counters[name];
      if (counters[name]) lines.push(input.url + ": " + name.slice(7) + " " + counters[name]);
    }
  }
  return { sum, lines };
}

function comesFrom(stats) {
  if (stats.pushed_from) return "pushed by " + stats.pushed_from.address;
  if (stats.backup_running) return "backup" + (stats.source_id ? " of " + stats.source_id : "");
  return stats.source_id || (stats.status === "running" ? "this node" : "–");
}

function reader(stats) {
  return (key) => (key in stats ? String(stats[key]) : "–");
}

function since(stats) {
  const moment = stats.opened_at || stats.closed_at;
  return cell(moment ? new Date(moment).toLocaleString() : "–");
}

function connection(stats) {
  return cell(stats.connected ? "connected" : "not connected", stats.connected ? "running" : "error");
}

function sourceRow(source) {
  const stats = source.stats || {};
  const line = document.createElement("tr");
  const shown = reader(stats);
  line.append(
    cell(source.url, "name"),
    connection(stats),
    cell(shown("online_streams") + " / " + shown("total_streams"), "number"),
    cell(shown("standby_streams"), "number"),
    cell(shown("input_kbit"), "number"),
    cell(shown("output_kbit"), "number"),
    cell(shown("ping"), "number"),
    cell(shown("errors_connection_lost"), "number"),
    since(stats),
    cell(stats.last_error || "–"),
  );
  return line;
}

function peerRow(peer) {
  const stats = peer.stats || {};
  const line = document.createElement("tr");
  const shown = reader(stats);
  const name = cell("", "name");
  name.append(link(peer.url, peer.public));
  line.append(
    name,
    connection(stats),
    cell(shown("online_streams") + " / " + shown("total_streams"), "number"),
    cell(shown("total_clients"), "number"),
    cell(shown("output_kbit"), "number"),
    cell(shown("redirected_clients"), "number"),
    cell(shown("ping"), "number"),
    cell(shown("errors_connection_lost"), "number"),
    since(stats),
    cell(stats.last_error || "–"),
  );
  return line;
}

function balancerRow(balancer) {
  const line = document.createElement("tr");
  const peers = balancer.peers.map((each) => each.peer + (each.connected ? "" : " (not connected)"));
  const usable = balancer.peers.some((each) => each.connected);
  line.append(cell(balancer.name, "name"), cell(balancer.mode), cell(peers.join(", "), usable ? "" : "error"));
  return line;
}

function pushRow(push) {
  const stats = push.stats || {};
  const line = document.createElement("tr");
  const words = { running: "taken", waiting: "waiting", error: "not taken" };
  line.append(
    cell(push.name, "name"),
    cell(push.url),
    cell(words[stats.status] || "–", stats.status),
    cell(String(Math.round((stats.bytes || 0) / 1000)), "number"),
    since(stats),
    cell(stats.last_error || "–"),
  );
  return line;
}

// What the node is to others: the section, the rows in it, the collection of the API, one row of it, and what
// else is shown of the answer, if there is something.
const collections = [
  ["cluster", "sources", sourceRow],
  ["neighbours", "peers", peerRow],
  ["balancing", "balancers", balancerRow],
  ["pushing", "pushes", pushRow],
  ["archives", "dvrs", volumeRow, readings],
].map(([section, name, make, more]) => ({
  address: "/streamer/api/v3/" + (name === "dvrs" ? "" : "cluster/") + name,
  section: document.getElementById(section),
  rows: document.getElementById(name),
  name,
  make,
  more: more || (() => false),
}));

async function load(address) {
  const answer = await fetch(address, { cache: "no-store" });
  if (!answer.ok) throw new Error("the server answered " + answer.status);
  return answer.json();
}

async function refresh() {
  clearTimeout(timer);
  const mine = ++turn;
  const query = new URLSearchParams({ limit: "100" });
  if (cursor) query.set("cursor", cursor);
  if (find.value) query.set("q", find.value);
  try {
    const [list, ...found] = await Promise.all([
      load("/streamer/api/v3/streams?" + query),
      ...collections.map((each) =>
        load(each.address).catch(() => ({ [each.name]: [] }))),
    ]);
    if (mine !== turn) return;
    let entries = 0;
    collections.forEach((each, index) => {
      const all = found[index][each.name];
      each.rows.replaceChildren(...all.map(each.make));
      const told = each.more(found[index]);
      each.section.hidden = all.length === 0 && !told;
      entries += all.length;
    });
    rows.replaceChildren(...list.streams.map(row));
    empty.hidden = list.streams.length > 0 || entries > 0;
    summary.textContent = list.estimated_count + (list.estimated_count === 1 ? " stream" : " streams");
    for (const [side, element] of Object.entries(pages)) {
      element.hidden = !list[side];
      element.dataset.cursor = list[side] || "";
    }
  } catch (error) {
    if (mine !== turn) return;
    summary.textContent = "Cannot load the list: " + error.message;
  }
  timer = setTimeout(refresh, REFRESH_MS);
}

for (const element of Object.values(pages)) {
  element.addEventListener("click", (event) => {
    event.preventDefault();
    cursor = element.dataset.cursor;
    refresh();
  });
}
find.addEventListener("input", () => {
  cursor = "";
  refresh();
});
refresh();
