// Everything shown is put into text nodes and attributes by the DOM: nothing is ever parsed as HTML.
const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value === "boolean") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function s(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

export function clear(element, ...children) {
  element.replaceChildren(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
}

export function path(name) {
  return "/" + name.split("/").map(encodeURIComponent).join("/");
}

export function rate(kbit) {
  if (kbit === undefined || kbit === null) return "–";
  return kbit >= 10000 ? (kbit / 1000).toFixed(1) + " Mbit/s" : kbit + " kbit/s";
}

export function size(bytes) {
  if (bytes === undefined || bytes === null) return "–";
  let index = 0;
  while (bytes >= 1000 && index < 5) {
    bytes /= 1000;
    index += 1;
  }
  return (index ? bytes.toFixed(bytes < 10 ? 1 : 0) : bytes) + " " + ["B", "kB", "MB", "GB", "TB", "PB"][index];
}

export function span(seconds) {
  seconds = Math.max(0, Math.round(seconds));
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= 2 * length) return Math.floor(seconds / length) + " " + unit;
  }
  return seconds + " s";
}

// "1 viewer", "2 viewers"; words that end otherwise are not counted here.
export function count(number, word) {
  return number + " " + word + (number === 1 ? "" : "s");
}

export function clock(ms) {
  const at = new Date(ms);
  return Date.now() - ms < 86400000 ? at.toLocaleTimeString() : at.toLocaleString();
}

export function dot(kind) {
  return h("span", { class: "dot " + kind, "aria-hidden": "true" });
}

export function table(columns, rows, empty) {
  if (!rows.length) return h("p", { class: "dim" }, empty || "There is nothing here yet.");
  return h("div", { class: "wide" }, h("table", {},
    h("thead", {}, h("tr", {}, columns.map((each) => h("th", { class: each.kind, scope: "col", title: each.title }, each.head)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, columns.map((each) => h("td", { class: each.kind }, each.cell(row))))))));
}

export function copyButton(text) {
  const button = h("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Without a secure context there is no clipboard: the old way.
      const field = button.previousElementSibling;
      field.select();
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return button;
}
