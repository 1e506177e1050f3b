import { clear, clock, count, dot, h, path, rate, s, table } from "./admin-dom.js";
import { get, query } from "./admin-api.js";

const WIDTH = 900;
const BOX = { width: 230, height: 78, gap: 22 };

function box(x, y, kind, lines, label) {
  return s("g", { class: "node " + kind, transform: `translate(${x} ${y})`, role: "img", "aria-label": label },
    s("rect", { width: BOX.width, height: BOX.height, rx: 6 }),
    lines.map((line, index) => s("text", { x: 10, y: 22 + 20 * index, "font-weight": index ? 400 : 600 }, line)));
}

function named(names, all) {
  const shown = names.slice(0, 2).join(", ");
  return (shown.length > 28 ? shown.slice(0, 27) + "…" : shown) + (all > 2 ? " +" + (all - 2) : "");
}

function pulledFrom(pulled, source) {
  const names = pulled.filter((stream) => stream.stats.source_id === source.url.split("://")[1]).map((stream) => stream.name);
  return named(names, Math.max(names.length, source.stats.connected ? source.stats.online_streams : 0));
}

function map(server, sources, behind, pulled) {
  const rows = Math.max(sources.length, behind.length, 1);
  const height = rows * (BOX.height + BOX.gap) + BOX.gap;
  const middle = { x: (WIDTH - BOX.width) / 2, y: (height - BOX.height) / 2 };
  const parts = [];
  const place = (list, x, describe) => list.forEach((each, index) => {
    const y = BOX.gap + (height - list.length * (BOX.height + BOX.gap)) / 2 + index * (BOX.height + BOX.gap) - BOX.gap / 2;
    const told = describe(each);
    const left = x < middle.x;
    const from = left ? x + BOX.width : middle.x + BOX.width;
    const to = left ? middle.x : x;
    const line = [y + BOX.height / 2, middle.y + BOX.height / 2];
    if (!left) line.reverse();
    parts.push(s("path", { class: "link " + (told.good ? "" : "bad"),
      d: `M ${from} ${line[0]} C ${(from + to) / 2} ${line[0]} ${(from + to) / 2} ${line[1]} ${to} ${line[1]}` }));
    parts.push(s("text", { x: left ? from + 6 : to - 6, y: y + BOX.height / 2 + (y > middle.y ? 18 : -8), "text-anchor": left ? "start" : "end" }, told.link));
    parts.push(box(x, y, told.good ? "" : "lost", told.lines, told.lines.filter(Boolean).join(", ")));
  });
  place(sources, 10, (each) => ({
    good: each.stats.connected,
    lines: [each.url.split("://")[1], each.stats.connected
      ? `${each.stats.online_streams} of ${count(each.stats.total_streams, "stream")}` : "lost: " + (each.stats.last_error || "").slice(0, 24),
      pulledFrom(pulled, each)],
    link: each.stats.connected ? [rate(each.stats.input_kbit), each.stats.ping !== undefined && Math.round(each.stats.ping) + " ms"].filter(Boolean).join(", ") : "",
  }));
  place(behind, WIDTH - BOX.width - 10, (each) => ({
    good: true, lines: [each.server_id.slice(0, 12), count(each.viewers, "viewer"), named(each.most_watched, each.streams)],
    link: count(each.streams, "stream"),
  }));
  parts.push(box(middle.x, middle.y, "self", ["This node", `${count(server.online_streams, "stream")}, ${count(server.total_clients, "viewer")}`], "This node"));
  return s("svg", { class: "map", viewBox: `0 0 ${WIDTH} ${height}`, id: "map" }, parts);
}

// What is shown: the rest is a number.
const MOST = 100;
const MOST_BEHIND = 20;

function more(list) {
  return list.estimated_count > MOST ? h("p", { class: "dim" }, "and " + (list.estimated_count - MOST) + " more") : null;
}

export function showCluster(main) {
  const picture = h("div", { class: "wide" });
  const lists = h("div", {});

  async function refresh() {
    const [server, sources, peers, pushes, streams, audience] = await Promise.all([
      get("config/stats"), get("cluster/sources" + query({ limit: MOST })), get("cluster/peers" + query({ limit: MOST })),
      get("cluster/pushes" + query({ limit: MOST })),
      get("streams" + query({ "stats.source_id_is": "not_null", limit: MOST, select: "stats.source_id,stats.lag" })),
      get("cluster/viewers").catch((error) => {
        // Who watches is not for everybody; the rest is shown all the same.
        if (error.status !== 403 && error.status !== 401) throw error;
        return { nodes: [] };
      }),
    ]);
    if (!picture.isConnected) clear(main, h("h2", {}, "Cluster"), picture, lists);
    const pulled = streams.streams;
    const behind = audience.nodes.filter((each) => each.server_id && each.server_id !== server.id).slice(0, MOST_BEHIND);
    clear(picture, map(server, sources.sources, behind, pulled));
    clear(lists,
      h("h3", {}, "Sources"),
      table([
        { head: "", cell: (each) => dot(each.stats.connected ? "good" : "bad") },
        { head: "Source", kind: "name", cell: (each) => each.url },
        { head: "Streams", kind: "number", cell: (each) => each.stats.online_streams + " of " + each.stats.total_streams },
        { head: "In", kind: "number", cell: (each) => rate(each.stats.input_kbit) },
        { head: "Ping", kind: "number", cell: (each) => each.stats.ping === undefined ? "–" : Math.round(each.stats.ping) + " ms" },
        { head: "Lost", kind: "number", cell: (each) => String(each.stats.errors_connection_lost) },
        { head: "Since", cell: (each) => clock(each.stats.opened_at || each.stats.closed_at || 0) },
        { head: "Last error", kind: "name", cell: (each) => each.stats.last_error || "" },
      ], sources.sources, "This node has no sources: it serves what is published and configured here."),
      pulled.length ? [h("h3", {}, "Pulled now"), table([
        { head: "Stream", kind: "name", cell: (each) => h("a", { href: "#/stream" + path(each.name) }, each.name) },
        { head: "From", kind: "name", cell: (each) => each.stats.source_id },
        { head: "Lag", kind: "number", cell: (each) => each.stats.lag === undefined ? "–" : Math.max(0, each.stats.lag) + " ms" },
      ], pulled), more(streams)] : null,
      peers.peers.length ? [h("h3", {}, "Peers"), table([
        { head: "", cell: (each) => dot(each.stats.connected ? "good" : "bad") },
        { head: "Peer", kind: "name", cell: (each) => each.url },
        { head: "Streams", kind: "number", cell: (each) => each.stats.online_streams + " of " + each.stats.total_streams },
        { head: "Viewers", kind: "number", cell: (each) => String(each.stats.total_clients || 0) },
        { head: "Sent there", kind: "number", cell: (each) => String(each.stats.redirected_clients || 0) },
      ], peers.peers), more(peers)] : null,
      pushes.pushes.length ? [h("h3", {}, "Pushes"), table([
        { head: "", cell: (each) => dot(each.stats.connected ? "good" : "bad") },
        { head: "Stream", kind: "name", cell: (each) => each.name },
        { head: "To", kind: "name", cell: (each) => each.url },
        { head: "State", cell: (each) => each.stats.status + (each.stats.last_error ? ": " + each.stats.last_error : "") },
      ], pushes.pushes), more(pushes)] : null);
  }

  return { refresh };
}
