"use strict";
// Everything shown is put into text nodes and attributes by the DOM: nothing is ever parsed as HTML.
const REFRESH_MS = 3000;
const rows = document.getElementById("streams");
const summary = document.getElementById("summary");
const empty = document.getElementById("empty");
const cluster = document.getElementById("cluster");
const sources = document.getElementById("sources");
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
  line.append(
    name,
    cell(state, ["running", "waiting", "error"].includes(state) ? state : ""),
    cell(stats.source_id || (stats.status === "running" ? "this node" : "–")),
    cell(String(stats.online_clients || 0), "number"),
    cell(stats.input_bitrate ? String(stats.input_bitrate) : "–", "number"),
    cell(stats.status === "running" && "ts_delay" in stats ? String(stats.ts_delay) : "–", "number"),
    cell(stats.status === "running" && "lag" in stats ? String(Math.max(0, stats.lag)) : "–", "number"),
    cell(tracks.map(describe).join(", ") || "–"),
    play,
  );
  return line;
}

function sourceRow(source) {
  const stats = source.stats || {};
  const line = document.createElement("tr");
  const shown = (key) => (key in stats ? String(stats[key]) : "–");
  const state = stats.connected ? "running" : "error";
  const name = cell(source.url, "name");
  if (stats.last_error) name.title = stats.last_error;
  const since = stats.opened_at || stats.closed_at;
  line.append(
    name,
    cell(stats.connected ? "connected" : "not connected", state),
    cell(shown("online_streams") + " / " + shown("total_streams"), "number"),
    cell(shown("standby_streams"), "number"),
    cell(shown("input_kbit"), "number"),
    cell(shown("output_kbit"), "number"),
    cell(shown("ping"), "number"),
    cell(shown("errors_connection_lost"), "number"),
    cell(since ? new Date(since).toLocaleString() : "–"),
  );
  return line;
}

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
    const [list, nodes] = await Promise.all([
      load("/streamer/api/v3/streams?" + query),
      load("/streamer/api/v3/cluster/sources").catch(() => ({ sources: [] })),
    ]);
    if (mine !== turn) return;
    sources.replaceChildren(...nodes.sources.map(sourceRow));
    cluster.hidden = nodes.sources.length === 0;
    rows.replaceChildren(...list.streams.map(row));
    empty.hidden = list.streams.length > 0;
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
