// What can be done to a console: the buttons above its terminal.

import { may, path, post } from "./api.js";
import { announce, attempt, button, el, number, question, say } from "./dom.js";
import { changeBackEnd, changePolicy } from "./change.js";
import { others } from "./list.js";
import { set, setting } from "./settings.js";

/** @typedef {import("./console.js").ConsoleView} View */

/** @param {View} view */
async function sendBreak({ id }) {
  await post(path(id, "break"));
  announce("A break was sent.");
}

/** @param {View} view */
async function setMark({ id }) {
  const text = el("input", { type: "text", maxlength: 1000, "aria-label": "Text of the mark" });
  const answer = await question("Mark this moment", [text], ["Mark"]);
  if (answer) {
    const { offset, indexed } = await post(path(id, "mark"), { text: text.value });
    const limit = indexed === false ? " The index of the log has no room for it: it will be forgotten." : "";
    announce(`Marked at byte ${number(offset)}.${limit}`);
  }
}

/** @param {View} view */
async function takeOver({ id, console }) {
  const who = (console && others(console).join(", ")) || "nobody else any more";
  const words = `On this console: ${who}. They are detached, and told that it was you.`;
  if (await question("Take over?", [el("p", {}, words)], ["Take over"])) {
    await post(path(id, "takeover"));
    announce("The console was taken over.");
  }
}

/** @param {View} view */
async function showDrops({ console }) {
  const { drops = {}, counters = {} } = console ?? {};
  const row = (/** @type {[string, any]} */ [name, value]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, typeof value === "number" ? number(value) : JSON.stringify(value)));
  const table = (/** @type {Record<string, any>} */ all) => el("table", { class: "numbers" }, el("tbody", {}, ...Object.entries(all).map(row)));
  const { dropped, ...rest } = counters;
  await question("Counters", [el("h3", {}, "Bytes dropped, by reason"), table(drops), el("h3", {}, "All counters"), table(rest)], ["OK"]);
}

/** @param {View} view */
export function toolbar(view) {
  const act = (/** @type {(view: View) => Promise<void>} */ work) => () => attempt(() => work(view));
  const type = button("Type", () => {
    const isOn = type.getAttribute("aria-pressed") === "true";
    view.live?.setReadOnly(isOn);
    update();
    if (!isOn) view.live?.emulator.term.focus();
  }, { id: "type", title: "What you type goes to the console", "aria-keyshortcuts": "t" });
  const fit = button("Fit", () => {
    set("fit", setting("fit", "on") === "on" ? "off" : "on");
    view.live?.fit();
    update();
  }, { id: "fit", title: "The console has the size of this window" });
  const search = button("Search", () => view.find.open(), { "aria-keyshortcuts": "Control+Shift+F" });
  const copy = button("Copy", () => attempt(async () => view.emulator()?.copy()), { title: "Copy what is selected" });
  const redraw = button("Redraw", () => attempt(async () => view.live?.draw()), { title: "Draw the screen anew, as the daemon knows it" });
  const breaks = button("Break", act(sendBreak), { title: "Send a break" });
  const mark = button("Mark", act(setMark));
  const take = button("Take over", act(takeOver));
  const drops = button("Counters", act(showDrops));
  const change = button("Change …", act(({ id }) => changeBackEnd(id)), { id: "change" });
  const policy = button("Policy …", act(({ id }) => changePolicy(id)));
  const size = el("span", { class: "hint size" });
  const all = [type, fit, search, copy, redraw, breaks, mark, take, drops, change, policy];
  const element = el("div", { class: "tools", role: "toolbar", "aria-label": "Console" }, ...all, size);

  const update = () => {
    const { console, live } = view;
    const mayType = may(console?.role, "attach");
    type.setAttribute("aria-pressed", String(live?.mayType() ?? false));
    type.disabled = !mayType;
    type.title = mayType ? "What you type goes to the console" : "You may only watch this console";
    fit.setAttribute("aria-pressed", String(live?.isFitted() ?? false));
    fit.disabled = !(live?.mayType() ?? false);
    for (const one of [breaks, mark]) one.hidden = !mayType;
    const displaced = console ? others(console) : [];
    take.hidden = !mayType || displaced.length === 0;
    take.title = `Take the console over from ${displaced.join(", ")}`;
    for (const one of [change, policy]) one.hidden = !may(console?.role, "change");
    const shown = live?.emulator.term;
    say(size, shown ? `${shown.cols}×${shown.rows}` : "");
  };

  element.addEventListener("keydown", (event) => {
    const at = all.indexOf(/** @type {HTMLButtonElement} */ (event.target));
    const usable = all.filter((one) => !one.hidden && !one.disabled);
    const place = usable.indexOf(all[at]);
    if (event.key === "ArrowRight") usable[(place + 1) % usable.length]?.focus();
    else if (event.key === "ArrowLeft") usable.at(place - 1)?.focus();
    else if (event.ctrlKey && event.key === "]") {
      // A second Ctrl+] is for the console.
      view.live?.type(new Uint8Array([0x1d]));
      view.live?.emulator.term.focus();
    } else return;
    event.preventDefault();
  });
  return {
    element,
    update,
    focus() {
      const first = all.find((one) => !one.hidden && !one.disabled);
      first?.focus();
      announce("You have left the terminal. Ctrl+] again sends Ctrl+] to the console.");
    },
  };
}
