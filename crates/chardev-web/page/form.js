// A form for the options of a back end, out of the daemon's own tables.

import { el } from "./dom.js";

/** @typedef {import("./api.js").Option} Option */
/** @typedef {{element: HTMLElement, value: () => any}} Field */

let count = 0;

/**
 * @param {string} name
 * @param {string} help
 * @param {HTMLElement} input
 * @param {boolean} required
 */
function labelled(name, help, input, required) {
  const id = `option-${++count}`;
  input.id = id;
  const words = el("small", { id: `${id}-help`, class: "hint" }, help);
  input.setAttribute("aria-describedby", words.id);
  const label = el("label", { for: id }, name, required ? el("span", { class: "needed" }, " (needed)") : null);
  return el("div", { class: "field" }, label, input, words);
}

/**
 * @param {string[]} values
 * @param {string | undefined} now
 * @param {string} none what stands for no choice
 */
function choice(values, now, none) {
  const options = [el("option", { value: "" }, none), ...values.map((value) => el("option", { value }, value))];
  const select = el("select", {}, ...options);
  select.value = now ?? "";
  return select;
}

/**
 * @param {Option} option
 * @param {any} now
 * @returns {Field}
 */
function simple({ name, type, required, help, values = [] }, now) {
  if (type === "bool" || type === "enum") {
    const words = type === "bool" ? ["on", "off"] : values;
    const word = type === "bool" && now !== undefined ? (now ? "on" : "off") : now;
    const select = choice(words, word, "as usual");
    select.required = required;
    const value = () => {
      if (select.value === "") return undefined;
      return type === "bool" ? select.value === "on" : select.value;
    };
    return { element: labelled(name, help, select, required), value };
  }
  if (type === "list") {
    const area = el("textarea", { rows: 2, required, spellcheck: "false" });
    area.value = (now ?? []).join("\n");
    const value = () => {
      const lines = area.value.split("\n").filter((line) => line !== "");
      return lines.length > 0 ? lines : undefined;
    };
    return { element: labelled(name, `${help}; one a line`, area, required), value };
  }
  const isNumber = type === "int" || type === "size";
  const input = el("input", { type: isNumber ? "number" : "text", step: 1, required, spellcheck: "false", autocomplete: "off" });
  input.value = now === undefined ? "" : String(now);
  const value = () => {
    if (input.value === "") return undefined;
    return isNumber ? Number(input.value) : input.value;
  };
  return { element: labelled(name, help, input, required), value };
}

/** The members of each kind of address, as in QAPI's SocketAddressLegacy. */
const ADDRESSES = /** @type {Record<string, Option[]>} */ (Object.fromEntries(Object.entries({
  inet: [["host", "str", true, "name or address"], ["port", "str", true, "number or service"],
    ["ipv4", "bool", false, "IPv4 is accepted"], ["ipv6", "bool", false, "IPv6 is accepted"],
    ["to", "int", false, "highest port that is tried"], ["keep-alive", "bool", false, "TCP keep-alive"]],
  unix: [["path", "str", true, "of the socket"], ["abstract", "bool", false, "a name, and no file"],
    ["tight", "bool", false, "an abstract name without zeros behind it"]],
  vsock: [["cid", "str", true, "context"], ["port", "str", true, "port"]],
  fd: [["str", "str", true, "name of a descriptor, or its number"]],
}).map(([kind, members]) => [kind, members.map(([name, type, required, help]) =>
  ({ name, type, required, help, policy: false }))])));

/**
 * @param {Option} option
 * @param {any} now
 * @returns {Field}
 */
function address({ name, required, help }, now) {
  const select = choice(Object.keys(ADDRESSES), now?.type ?? (required ? "inet" : ""), "none");
  select.required = required;
  /** @type {Field[]} */
  let fields = [];
  const inner = el("div", { class: "nested" });
  const fill = () => {
    const members = ADDRESSES[select.value] ?? [];
    const data = now?.type === select.value ? now.data : {};
    fields = members.map((member) => simple(member, data[member.name]));
    inner.replaceChildren(...fields.map(({ element }) => element));
    names = members.map((member) => member.name);
  };
  /** @type {string[]} */
  let names = [];
  select.addEventListener("change", fill);
  fill();
  const value = () => {
    if (select.value === "") return undefined;
    return { type: select.value, data: collect(names, fields) };
  };
  const element = el("fieldset", {}, el("legend", {}, name), labelled("kind of address", help, select, required), inner);
  return { element, value };
}

/**
 * @param {string[]} names
 * @param {Field[]} fields
 */
function collect(names, fields) {
  const pairs = names.map((name, at) => [name, fields[at].value()]);
  return Object.fromEntries(pairs.filter(([, value]) => value !== undefined));
}

/**
 * The fields of these options: what is needed or set first, the rest folded away.
 * @param {Option[]} options
 * @param {Record<string, any>} now
 */
export function fieldsOf(options, now) {
  const fields = options.map((option) => {
    const make = option.type === "address" ? address : simple;
    return make(option, now[option.name]);
  });
  const isFirst = (/** @type {Option} */ { name, required }) => required || now[name] !== undefined;
  const first = fields.filter((_, at) => isFirst(options[at]));
  const rest = fields.filter((_, at) => !isFirst(options[at]));
  const elements = first.map(({ element }) => element);
  if (rest.length > 0) {
    const more = el("details", { open: first.length === 0 },
      el("summary", {}, `${first.length > 0 ? "More options" : "Options"} (${rest.length})`),
      ...rest.map(({ element }) => element));
    elements.push(more);
  }
  return { elements, value: () => collect(options.map(({ name }) => name), fields) };
}
