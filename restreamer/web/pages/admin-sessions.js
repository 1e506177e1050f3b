import { clear, clock, count, h, path, size, span, table } from "./admin-dom.js";
import { ask, get, query } from "./admin-api.js";

export function showSessions(main, name, { say }) {
  const find = h("input", { type: "search", autocomplete: "off", "aria-label": "Find", placeholder: "Name, address or user" });
  const scope = h("select", { "aria-label": "Which nodes" },
    h("option", { value: "node" }, "of this node"), h("option", { value: "cluster" }, "of all nodes behind it"));
  const sort = h("select", { "aria-label": "Order" }, h("option", { value: "-opened_at" }, "newest first"),
    h("option", { value: "opened_at" }, "oldest first"), h("option", { value: "-bytes" }, "most bytes first"));
  const list = h("div", {});
  const pages = h("nav", { class: "bar", "aria-label": "Pages of the list" });
  let cursor = "";
  let begun = false;

  async function kick(session) {
    try {
      await ask("DELETE", "sessions/" + session.id);
      say((session.kind === "publish" ? "The publisher of " : "A viewer of ") + session.name + " was sent away");
      await refresh();
    } catch (error) {
      say(error.message);
    }
  }

  function again() {
    refresh().catch((error) => say(error.message));
  }

  async function refresh() {
    const told = await get("sessions" + query({ q: find.value, scope: scope.value, sort: sort.value, name, cursor, limit: 100 }));
    if (!begun) {
      begun = true;
      clear(main, h("div", { class: "bar" }, h("h2", {}, name ? "Viewers of " + name : "Viewers"), find, scope, sort), list, pages);
    }
    const now = Date.now();
    clear(list, table([
      { head: "Stream", kind: "name", cell: (each) => h("a", { href: "#/stream" + path(each.name) }, each.name) },
      { head: "Protocol", cell: (each) => each.proto + (each.dvr ? " (archive)" : "") + (each.kind === "publish" ? " (publishes)" : "") },
      { head: "Address", cell: (each) => each.ip + (each.country ? " " + each.country : "") },
      { head: "User", kind: "few", cell: (each) => each.user_id || "–" },
      { head: "Since", kind: "number", title: "", cell: (each) => h("span", { title: clock(each.opened_at) }, span((now - each.opened_at) / 1000)) },
      { head: "Sent", kind: "number", cell: (each) => size(each.bytes) },
      { head: "Player", kind: "few", cell: (each) => h("span", { title: each.user_agent }, (each.user_agent || "").slice(0, 40)) },
      { head: "", cell: (each) => h("button", { type: "button", class: "danger", onclick: () => kick(each),
        "aria-label": "Kick " + each.ip + " of " + each.name }, "Kick") },
    ], told.sessions, "Nobody watches now."));
    clear(pages,
      told.prev && h("button", { type: "button", onclick: () => { cursor = told.prev; again(); } }, "Previous"),
      told.next && h("button", { type: "button", onclick: () => { cursor = told.next; again(); } }, "Next"),
      h("span", { class: "dim" }, count(told.estimated_count, "session")));
  }

  for (const field of [find, scope, sort]) field.addEventListener("input", () => { cursor = ""; again(); });
  return { refresh };
}
