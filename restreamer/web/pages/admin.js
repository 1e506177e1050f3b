// The shell: which page is shown, the pulse of the node, and refreshing when something happens.
import { clear, count, h, rate } from "./admin-dom.js";
import { get } from "./admin-api.js";
import { showArchive } from "./admin-archive.js";
import { showCluster } from "./admin-cluster.js";
import { showConfig } from "./admin-config.js";
import { showEvents } from "./admin-events.js";
import { showSessions } from "./admin-sessions.js";
import { showStream, showStreams } from "./admin-streams.js";
import { showTraffic } from "./admin-traffic.js";

const main = document.getElementById("main");
const pulse = document.getElementById("pulse");
const said = document.getElementById("said");
const POLL_MS = 3000;
const SETTLE_MS = 300;
const LEAST_MS = 1000;

const PAGES = {
  streams: showStreams,
  stream: showStream,
  sessions: showSessions,
  cluster: showCluster,
  archive: showArchive,
  traffic: showTraffic,
  events: showEvents,
  config: showConfig,
};

let shown = null;
let place = null;
let settling = 0;
let settled = 0;
let least = LEAST_MS;
let hiding = 0;

export function say(text) {
  said.textContent = text;
  said.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { said.hidden = true; }, 6000);
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// A page is { refresh(): Promise, event(event), close() }, each of them optional.
async function route() {
  const [word, ...rest] = location.hash.replace(/^#\//, "").split("/");
  const name = Object.hasOwn(PAGES, word) ? word : "streams";
  const argument = rest.map(decoded).join("/");
  if (shown && shown.close) shown.close();
  for (const tab of document.querySelectorAll("#tabs a")) {
    const here = tab.hash === "#/" + (name === "stream" ? "streams" : name);
    if (here) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  document.title = (argument || name[0].toUpperCase() + name.slice(1)) + " – Restreamer";
  // Each page has a place of its own, so that a late answer for one never shows on another.
  place = h("div", {}, h("p", { class: "dim" }, "Loading…"));
  clear(main, place);
  shown = PAGES[name](place, argument, { say, go });
  await refresh();
}

export function go(hash) {
  if (location.hash === hash) route();
  else location.hash = hash;
}

// Lists are made anew: who works with the keyboard stays where it was.
function label(element) {
  return element && main.contains(element) ? element.getAttribute("aria-label") || element.getAttribute("href") : null;
}

function refocus(wanted) {
  const found = [...main.querySelectorAll("a, button")].find((each) => label(each) === wanted);
  if (found) found.focus({ preventScroll: true });
}

async function refresh() {
  const page = shown;
  if (!page || !page.refresh) return;
  const focused = label(document.activeElement);
  try {
    await page.refresh();
    if (page === shown && focused && document.activeElement === document.body) refocus(focused);
  } catch (error) {
    if (page !== shown) return;
    if (error.code === "not_configured") {
      clear(place, h("p", { class: "warn" }, error.message + "."), h("p", {},
        "This page shows who watches, or changes something. Give the node ", h("code", {}, "view_auth USER PASSWORD;"), " or ",
        h("code", {}, "edit_auth USER PASSWORD;"), " in its configuration."));
      shown = null;
    } else if (place.childElementCount <= 1) {
      clear(place, h("p", { class: "bad" }, error.message));
    } else {
      say(error.message);
    }
  }
}

function soon() {
  if (settling) return;
  settling = setTimeout(() => {
    settling = 0;
    settled = Date.now();
    get("config/stats").then(showPulse, () => {});
    // A node with much to tell is not asked for it all the time.
    refresh().then(() => { least = Math.max(LEAST_MS, 10 * (Date.now() - settled)); });
  }, Math.max(SETTLE_MS, settled + least - Date.now()));
}

function showPulse(told) {
  pulse.textContent = [
    told.online_streams + " of " + count(told.total_streams, "stream"),
    count(told.total_clients, "viewer"),
    "in " + rate(told.input_kbit),
    "out " + rate(told.output_kbit),
  ].join(" · ");
}

let polling = 0;

function poll() {
  clearTimeout(polling);
  polling = setTimeout(poll, POLL_MS);
  if (document.hidden) return;
  get("config/stats").then(showPulse, (error) => { pulse.textContent = error.message; });
  refresh();
}

function live() {
  const source = new EventSource("/streamer/api/v3/events/stream");
  let works = false;
  source.addEventListener("pulse", (message) => {
    works = true;
    showPulse(JSON.parse(message.data));
    if (!document.hidden) soon();
  });
  source.addEventListener("event", (message) => {
    const event = JSON.parse(message.data);
    if (shown && shown.event) shown.event(event);
    if (!document.hidden) soon();
  });
  source.onerror = () => {
    pulse.textContent = "connection lost, trying again";
    if (!works || source.readyState === EventSource.CLOSED) {
      // Events are not for everybody: ask now and then instead.
      source.close();
      poll();
      if (works) setTimeout(() => { clearTimeout(polling); live(); }, 2 * POLL_MS);
    }
  };
}

addEventListener("hashchange", route);
route();
live();
