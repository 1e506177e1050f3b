import { clear, clock, h } from "./admin-dom.js";
import { get } from "./admin-api.js";

const MOST = 500;
const PLAIN = new Set(["event", "event_id", "utc_ms", "media", "server"]);

export function showEvents(main) {
  const find = h("input", { type: "search", placeholder: "Filter", "aria-label": "Filter" });
  const body = h("tbody", {});
  let events = [];
  let newest = 0;

  function shown(event) {
    const rest = Object.entries(event).filter(([key]) => !PLAIN.has(key)).map(([key, value]) => `${key}=${value}`).join(" ");
    return h("tr", {}, h("td", {}, clock(event.utc_ms)), h("td", {}, event.event), h("td", { class: "name" }, event.media || ""),
      h("td", { class: "name dim" }, rest));
  }

  function show() {
    const wanted = find.value.toLowerCase();
    const some = events.filter((event) => !wanted || JSON.stringify(event).toLowerCase().includes(wanted));
    clear(body, some.slice(-MOST).reverse().map(shown));
  }

  function add(event) {
    if (event.event_id <= newest) return;
    newest = event.event_id;
    events.push(event);
    if (events.length > 2 * MOST) events = events.slice(-MOST);
  }

  async function refresh() {
    // The newest one known is asked for again: a node that has started anew counts from the beginning.
    const told = await get("events?since=" + Math.max(0, newest - 1));
    const same = told.events.find((event) => event.event_id === newest);
    if (newest && (!same || same.utc_ms !== events[events.length - 1].utc_ms)) {
      newest = 0;
      events = [];
      return refresh();
    }
    told.events.forEach(add);
    if (!body.isConnected) {
      clear(main, h("div", { class: "bar" }, h("h2", {}, "Events"), find),
        h("div", { class: "wide" }, h("table", { class: "tail" }, h("thead", {}, h("tr", {},
          ["Time", "Event", "Stream", "More"].map((word) => h("th", { scope: "col" }, word)))), body)));
    }
    show();
  }

  find.addEventListener("input", show);
  return { refresh, event: (event) => { add(event); } };
}
