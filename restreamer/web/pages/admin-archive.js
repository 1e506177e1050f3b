import { clear, count, h, path, s, size, span, table } from "./admin-dom.js";
import { get, query, streamPath } from "./admin-api.js";

const DAY = 86400000;

function dayOf(ms) {
  const at = new Date(ms);
  return new Date(at.getFullYear(), at.getMonth(), at.getDate()).getTime();
}

function kept(ranges, from, to) {
  return ranges.reduce((sum, each) => sum + Math.max(0, Math.min(each.closed_at, to) - Math.max(each.opened_at, from)), 0);
}

export function showArchive(main, name, { say }) {
  return name ? oneArchive(main, name, say) : allArchives(main);
}

function allArchives(main) {
  let cursor = "";
  const turn = (to) => () => { cursor = to; refresh().catch(() => {}); };

  async function refresh() {
    const [streams, disks] = await Promise.all([
      get("streams" + query({ "stats.dvr_enabled": "true", select: "title,stats.dvr_info", limit: 100, cursor })), get("dvrs"),
    ]);
    const recorded = streams.streams.filter((each) => each.stats && each.stats.dvr_info);
    clear(main, h("h2", {}, "Archive"),
      table([
        { head: "Stream", kind: "name", cell: (each) => h("a", { href: "#/archive" + path(each.name) }, each.name) },
        { head: "State", cell: (each) => h("span", { class: each.stats.dvr_info.status === "error" ? "bad" : "" },
          each.stats.dvr_info.error || each.stats.dvr_info.status) },
        { head: "Depth", kind: "number", cell: (each) => span(each.stats.dvr_info.depth || 0) },
        { head: "Recorded", kind: "number", cell: (each) => span(each.stats.dvr_info.duration || 0) },
        { head: "Size", kind: "number", cell: (each) => size(each.stats.dvr_info.bytes) },
      ], recorded, "No stream is recorded on this node."),
      h("nav", { class: "bar", "aria-label": "Pages of the list" },
        streams.prev && h("button", { type: "button", onclick: turn(streams.prev) }, "Previous"),
        streams.next && h("button", { type: "button", onclick: turn(streams.next) }, "Next"),
        h("span", { class: "dim" }, count(streams.estimated_count, "stream"))),
      h("h3", {}, "Disks"),
      table([
        { head: "Folder", kind: "name", cell: (each) => each.root },
        { head: "State", cell: (each) => each.error || each.status },
        { head: "Used", kind: "number", cell: (each) => each.disk_used_percent === undefined ? "–" : each.disk_used_percent + " %" },
        { head: "Free", kind: "number", cell: (each) => size(each.disk_free) },
        { head: "Writing", kind: "number", cell: (each) => each.write_kbit + " kbit/s" },
      ], disks.dvrs, "There are none."));
  }
  return { refresh };
}

function oneArchive(main, name, say) {
  const calendar = h("div", { class: "month" });
  const head = h("strong", {});
  const day = h("div", {});
  const video = h("video", { class: "preview", controls: true, playsinline: true, muted: true });
  let ranges = [];
  let month = new Date(new Date().getFullYear(), new Date().getMonth(), 1);
  let chosen = dayOf(Date.now());
  let player = null;

  function play(from) {
    const range = ranges.find((each) => each.opened_at <= from && from < each.closed_at);
    const until = range ? range.closed_at : from + 3600000;
    const seconds = Math.max(10, Math.min(3600 * 6, Math.floor((until - from) / 1000)));
    const url = `${path(name)}/video-archive-${Math.floor(from / 1000)}-${seconds}.m3u8`;
    if (player) player.destroy();
    player = null;
    if (globalThis.Hls && Hls.isSupported()) {
      player = new Hls();
      player.on(Hls.Events.ERROR, (_, told) => { if (told.fatal) say("The archive cannot be played: " + told.details); });
      player.loadSource(url);
      player.attachMedia(video);
    } else {
      video.src = url;
    }
    video.play().catch(() => {});
  }

  function showDay() {
    const bars = ranges.filter((each) => each.closed_at > chosen && each.opened_at < chosen + DAY).map((each) => {
      const from = Math.max(each.opened_at, chosen);
      const to = Math.min(each.closed_at, chosen + DAY);
      return s("rect", { class: "kept", x: (from - chosen) / DAY * 1000, y: 0, height: 40, width: Math.max(0.5, (to - from) / DAY * 1000) });
    });
    const line = h("button", { type: "button", class: "hours", "aria-label": "Play from a time of this day" },
      s("svg", { viewBox: "0 0 1000 40", preserveAspectRatio: "none" }, bars));
    line.addEventListener("click", (event) => {
      const area = line.getBoundingClientRect();
      const share = event.clientX ? (event.clientX - area.left) / area.width : 0;
      let at = chosen + share * DAY;
      if (!ranges.some((each) => each.opened_at <= at && at < each.closed_at)) {
        const next = ranges.find((each) => each.opened_at >= at) || ranges[ranges.length - 1];
        if (!next) return;
        at = next.opened_at;
      }
      play(at);
    });
    clear(day, h("h3", {}, new Date(chosen).toLocaleDateString() + ", " + span(kept(ranges, chosen, chosen + DAY) / 1000) + " recorded"),
      line, h("div", { class: "bar dim" }, [0, 6, 12, 18, 24].map((hour) => h("span", {}, hour + ":00"))),
      h("ul", {}, ranges.filter((each) => each.closed_at > chosen && each.opened_at < chosen + DAY).slice(0, 50).map((each) =>
        h("li", {}, h("a", { href: location.hash, onclick: (event) => { event.preventDefault(); play(Math.max(each.opened_at, chosen)); } },
          new Date(Math.max(each.opened_at, chosen)).toLocaleTimeString() + " – " + new Date(Math.min(each.closed_at, chosen + DAY)).toLocaleTimeString()),
        " ", h("a", { class: "dim", href: `${path(name)}/archive-${Math.floor(Math.max(each.opened_at, chosen) / 1000)}-${
          Math.min(3600, Math.floor((Math.min(each.closed_at, chosen + DAY) - Math.max(each.opened_at, chosen)) / 1000))}.mp4` }, "MP4")))));
  }

  function showMonth() {
    head.textContent = month.toLocaleDateString(undefined, { month: "long", year: "numeric" });
    const cells = [];
    const first = (month.getDay() + 6) % 7;
    for (let blank = 0; blank < first; blank += 1) cells.push(h("span", {}));
    for (let date = 1; ; date += 1) {
      const at = new Date(month.getFullYear(), month.getMonth(), date);
      if (at.getMonth() !== month.getMonth()) break;
      const share = kept(ranges, at.getTime(), at.getTime() + DAY) / DAY;
      cells.push(h("button", { type: "button", disabled: !share, "aria-pressed": String(at.getTime() === chosen),
        onclick: () => { chosen = at.getTime(); showMonth(); showDay(); } }, String(date), share ? h("meter", { value: share }) : null));
    }
    clear(calendar, ["Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"].map((word) => h("span", { class: "dim" }, word)), cells);
  }

  function step(by) {
    month = new Date(month.getFullYear(), month.getMonth() + by, 1);
    showMonth();
  }

  async function refresh() {
    const told = await get(streamPath(name) + "/dvr/ranges");
    const changed = JSON.stringify(told.ranges) !== JSON.stringify(ranges);
    const begun = calendar.isConnected;
    ranges = told.ranges;
    if (!begun) {
      if (ranges.length) chosen = dayOf(ranges[ranges.length - 1].closed_at - 1);
      month = new Date(new Date(chosen).getFullYear(), new Date(chosen).getMonth(), 1);
      clear(main, h("div", { class: "bar" }, h("h2", {}, "Archive of " + name), h("a", { href: "#/stream" + path(name) }, "Live")),
        h("div", { class: "split" }, h("div", {}, video, day), h("div", {},
          h("div", { class: "bar" }, h("button", { type: "button", onclick: () => step(-1), "aria-label": "Month before" }, "‹"), head,
            h("button", { type: "button", onclick: () => step(1), "aria-label": "Next month" }, "›")),
          calendar, h("p", { class: "dim" }, size(told.bytes) + (told.complete ? "" : "; a source that may have more is away")))));
    }
    if (!begun || changed) {
      showMonth();
      showDay();
    }
  }

  return { refresh, close: () => { if (player) player.destroy(); } };
}
