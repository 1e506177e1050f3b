import { clear, h } from "./admin-dom.js";
import { ask, get } from "./admin-api.js";

export function showConfig(main, _, { say }) {
  const text = h("textarea", { spellcheck: "false", autocomplete: "off", "aria-label": "Configuration" });
  const problems = h("ul", { class: "errors" });
  const check = h("button", { type: "button" }, "Check");
  const save = h("button", { type: "button", disabled: true }, "Save and apply");
  const where = h("span", { class: "dim" });
  let revision = "";
  let begun = false;

  function jump(line, column) {
    const lines = text.value.split("\n");
    const start = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
    text.focus();
    text.setSelectionRange(start + Math.max(0, column - 1), start + (lines[line - 1] || "").length);
    const height = text.scrollHeight / Math.max(1, lines.length);
    text.scrollTop = Math.max(0, (line - 5) * height);
  }

  function show(told) {
    clear(problems, [...told.errors.map((each) => ["bad", each]), ...told.warnings.map((each) => ["warn", each])].map(([kind, each]) =>
      h("li", { class: kind }, each.line
        ? h("button", { type: "button", onclick: () => jump(each.line, each.column) }, `line ${each.line}: ${each.text}`) : each.text)));
    save.disabled = told.errors.length > 0;
    if (!told.errors.length && !told.warnings.length) clear(problems, h("li", { class: "good" }, "It can be used."));
    if (told.errors.length && told.errors[0].line) jump(told.errors[0].line, told.errors[0].column);
  }

  check.addEventListener("click", async () => {
    try {
      show(await ask("POST", "config/file", { text: text.value }));
    } catch (error) {
      say(error.message);
    }
  });

  save.addEventListener("click", async () => {
    try {
      const told = await ask("PUT", "config/file", { text: text.value, revision });
      show(told);
      if (!told.errors.length) {
        revision = told.revision;
        save.disabled = true;
        say("The configuration is in force");
      }
    } catch (error) {
      say(error.status === 409 ? "The file was changed by somebody else: load this page again" : error.message);
    }
  });

  text.addEventListener("input", () => { save.disabled = false; });
  text.addEventListener("keydown", (event) => {
    if (event.key === "s" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      check.click();
    }
  });

  async function refresh() {
    if (begun) return;
    const told = await get("config/file");
    begun = true;
    revision = told.revision;
    text.value = told.text;
    where.textContent = told.path;
    clear(main, h("div", { class: "bar" }, h("h2", {}, "Configuration"), where), h("div", { class: "editor" }, text,
      h("div", { class: "bar" }, check, save), problems));
  }

  return { refresh };
}
