import { clear, h, rate, s, size } from "./admin-dom.js";
import { get, query } from "./admin-api.js";

const SPANS = [["1 hour", 3600000, 60000], ["6 hours", 21600000, 300000], ["1 day", 86400000, 900000], ["1 week", 604800000, 7200000],
  ["30 days", 2592000000, 21600000]];
const WIDTH = 900;
const HEIGHT = 260;
const PAD = { left: 74, bottom: 26, top: 10, right: 10 };

function chart(rows, since, until, step) {
  const protos = [...new Set(rows.map((row) => row.proto))].sort();
  const sums = new Map();
  for (const row of rows) {
    const stack = sums.get(row.at) || new Map();
    stack.set(row.proto, (stack.get(row.proto) || 0) + row.bytes);
    sums.set(row.at, stack);
  }
  const perSecond = (bytes) => bytes * 8 / (step / 1000);
  const most = Math.max(8000, ...[...sums.values()].map((stack) => perSecond([...stack.values()].reduce((one, other) => one + other, 0))));
  const x = (at) => PAD.left + (at - since) / (until - since) * (WIDTH - PAD.left - PAD.right);
  const y = (value) => HEIGHT - PAD.bottom - value / most * (HEIGHT - PAD.bottom - PAD.top);
  const parts = [];
  for (let line = 0; line <= 4; line += 1) {
    const value = most * line / 4;
    parts.push(s("line", { class: "axis", x1: PAD.left, x2: WIDTH - PAD.right, y1: y(value), y2: y(value) }));
    parts.push(s("text", { x: PAD.left - 6, y: y(value) + 4, "text-anchor": "end" }, rate(Math.round(value / 1000))));
  }
  for (let line = 0; line <= 4; line += 1) {
    const at = since + (until - since) * line / 4;
    const label = until - since > 172800000 ? new Date(at).toLocaleDateString() : new Date(at).toLocaleTimeString([], { timeStyle: "short" });
    parts.push(s("text", { x: x(at), y: HEIGHT - 8, "text-anchor": line === 4 ? "end" : line ? "middle" : "start" }, label));
  }
  const width = Math.max(1, x(since + step) - x(since) - 1);
  for (const [at, stack] of sums) {
    let base = 0;
    protos.forEach((proto, index) => {
      const value = perSecond(stack.get(proto) || 0);
      if (!value) return;
      parts.push(s("rect", { class: "mark" + index % 6, x: x(at), width, y: y(base + value), height: Math.max(0, y(base) - y(base + value)) },
        s("title", {}, `${new Date(at).toLocaleString()}: ${proto} ${size(stack.get(proto))}`)));
      base += value;
    });
  }
  const totals = protos.map((proto) => rows.filter((row) => row.proto === proto).reduce((sum, row) => sum + row.bytes, 0));
  return [
    s("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": "Traffic by protocol" }, parts),
    h("div", { class: "legend" }, protos.map((proto, index) => h("span", { class: "mark" + index % 6 }, `${proto}: ${size(totals[index])}`))),
  ];
}

export function showTraffic(main, name, { say }) {
  const spans = h("select", { "aria-label": "Time" }, SPANS.map(([text], index) => h("option", { value: index }, text)));
  const stream = h("input", { type: "search", placeholder: "All streams", "aria-label": "Only of this stream", value: name });
  const picture = h("div", { class: "wide" });
  const bar = h("div", { class: "bar" }, h("h2", {}, "Traffic"), spans, stream);

  async function refresh() {
    const [, length, step] = SPANS[Number(spans.value)];
    const until = Math.ceil(Date.now() / step) * step;
    const told = await get("journal/traffic" + query({ since: until - length, until, step, name: stream.value }));
    if (!bar.isConnected) clear(main, bar, picture);
    if (told.traffic.some((row) => row.bytes)) clear(picture, chart(told.traffic, until - length, until, step));
    else clear(picture, h("p", { class: "dim" }, "Nothing was sent to viewers in this time; the newest minute comes when it is over."));
  }

  for (const field of [spans, stream]) field.addEventListener("change", () => refresh().catch((error) => say(error.message)));
  return { refresh };
}
