// Giving a console another back end, or another policy.

import { get, path, post } from "./api.js";
import { announce, dialog, el } from "./dom.js";
import { fieldsOf } from "./form.js";

/**
 * @typedef {import("./api.js").Kind} Kind
 * @typedef {import("./api.js").Backend} Backend
 */

/**
 * A form that shows the JSON it makes, and the daemon's words if it is refused.
 * @param {string} title
 * @param {HTMLElement[]} content
 * @param {() => any} value
 * @param {(value: any) => Promise<any>} send
 */
function openForm(title, content, value, send) {
  const json = el("pre", { tabindex: "0", "aria-label": "What is sent" });
  const alert = el("p", { role: "alert", class: "error" });
  const submit = el("button", { class: "main" }, title);
  const form = el("form", {}, ...content,
    el("details", { open: true }, el("summary", {}, "What is sent"), json), alert, el("div", { class: "buttons" }, submit));
  const show = () => { json.textContent = JSON.stringify(value(), null, 2); };
  form.addEventListener("input", show);
  form.addEventListener("change", show);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    submit.disabled = true;
    alert.textContent = "";
    try {
      await send(value());
      box.close();
    } catch (error) {
      alert.textContent = error instanceof Error ? error.message : String(error);
    } finally {
      submit.disabled = false;
    }
  });
  show();
  const box = dialog(title, [form], { wide: true });
  return show;
}

/** @param {string} id */
export async function changeBackEnd(id) {
  const [{ backend }, kinds] = /** @type {[{backend?: Backend}, Kind[]]} */ (
    await Promise.all([get(path(id)), get("/schema/backends")]));
  const now = backend ?? { type: kinds[0].name, data: {} };
  const select = el("select", { id: "kind" }, ...kinds.map(({ name }) => el("option", { value: name }, name)));
  select.value = now.type;
  const summary = el("small", { class: "hint" });
  const fields = el("div", { class: "fields" });
  let value = () => /** @type {Record<string, any>} */ ({});
  const fill = () => {
    const kind = kinds.find(({ name }) => name === select.value) ?? kinds[0];
    // What is said of the chardev rather than of its back end goes along to another kind.
    const common = kind.options.filter(({ policy }) => policy).map(({ name }) => name);
    const kept = Object.entries(now.data).filter(([name]) => kind.name === now.type || common.includes(name));
    const made = fieldsOf(kind.options, Object.fromEntries(kept));
    summary.textContent = kind.summary;
    fields.replaceChildren(...made.elements);
    value = made.value;
  };
  fill();
  const kind = el("div", { class: "field" }, el("label", { for: "kind" }, "Kind"), select, summary);
  select.addEventListener("change", fill);
  const show = openForm(`Change the back end of ${id}`, [kind, fields],
    () => ({ type: select.value, data: value() }),
    async (wanted) => {
      const { pty } = await post(path(id, "change"), wanted);
      announce(pty ? `The back end was changed; the pty is ${pty}.` : "The back end was changed.");
    });
  select.addEventListener("change", show);
}

/** @param {string} id */
export async function changePolicy(id) {
  const [{ backend }, kinds] = await Promise.all([get(path(id)), get("/schema/backends")]);
  const kind = kinds.find((/** @type {Kind} */ { name }) => name === backend?.type) ?? kinds[0];
  const options = kind.options.filter((/** @type {{policy: boolean}} */ { policy }) => policy);
  const made = fieldsOf(options, backend?.data ?? {});
  openForm(`Set the policy of ${id}`, made.elements, made.value, async (wanted) => {
    await post(path(id, "policy"), wanted);
    announce("The policy was set.");
  });
}
