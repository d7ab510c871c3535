// Making elements, and saying things to people.

/**
 * An element. What begins with `on` is listened to; `true` and `false` are attributes that are
 * there or not.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Node | string | number | null | undefined | false)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    element.append(typeof child === "number" ? String(child) : child);
  }
  return element;
}

/**
 * A button that does something.
 * @param {string} words
 * @param {(event: MouseEvent) => void} onclick
 * @param {Record<string, any>} [attributes]
 */
export function button(words, onclick, attributes = {}) {
  return el("button", { type: "button", onclick, ...attributes }, words);
}

/** @param {string} id */
export function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/**
 * Sets the text of an element, which is left alone if it is the same.
 * @param {Element} element
 * @param {string} words
 */
export function say(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

/**
 * Tells people who listen rather than look.
 * @param {string} words
 */
export function announce(words) {
  const place = byId("announcer");
  place.replaceChildren(el("p", {}, words));
}

/**
 * A dialog that is closed by Escape, and gives the focus back where it was.
 * @param {string} title
 * @param {Node[]} content
 * @param {{wide?: boolean, onclose?: () => void}} [options]
 */
export function dialog(title, content, { wide = false, onclose } = {}) {
  const id = `title-${crypto.randomUUID()}`;
  const before = document.activeElement;
  const close = button("Close", () => box.close(), { class: "close" });
  const head = el("div", { class: "head" }, el("h2", { id }, title), close);
  const box = el("dialog", { "aria-labelledby": id, class: wide ? "wide" : "" }, head, ...content);
  box.addEventListener("close", () => {
    box.remove();
    onclose?.();
    if (before instanceof HTMLElement && before.isConnected) before.focus();
  });
  document.body.append(box);
  box.showModal();
  return box;
}

/**
 * Asks; the answer is the word of the button, or nothing.
 * @param {string} title
 * @param {Node[]} content
 * @param {string[]} answers
 * @returns {Promise<string | undefined>}
 */
export function question(title, content, answers) {
  return new Promise((resolve) => {
    /** @type {string | undefined} */
    let answer;
    const buttons = answers.map((word) => button(word, () => {
      answer = word;
      box.close();
    }));
    buttons[0].classList.add("main");
    const row = el("div", { class: "buttons" }, ...buttons, button("Cancel", () => box.close()));
    const box = dialog(title, [...content, row], { onclose: () => resolve(answer) });
    buttons[0].focus();
  });
}

/**
 * Says that something went wrong, until it is read.
 * @param {unknown} error
 */
export function complain(error) {
  const words = error instanceof Error ? error.message : String(error);
  const old = document.querySelector(".complaint");
  const box = el("div", { class: "complaint", role: "alert" }, el("span", {}, words));
  box.append(button("Dismiss", () => box.remove()));
  old?.remove();
  document.body.append(box);
}

/**
 * Does something and says so if it fails.
 * @param {() => Promise<unknown>} work
 */
export async function attempt(work) {
  try {
    await work();
    return true;
  } catch (error) {
    complain(error);
    return false;
  }
}

const numbers = new Intl.NumberFormat("en");

/** @param {number} value */
export function number(value) {
  return numbers.format(value);
}

/** @param {number} seconds since 1970 */
export function moment(seconds) {
  const date = new Date(seconds * 1000);
  const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");
  return `${day} ${time}`;
}
