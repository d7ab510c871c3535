// Coming in: by a link that is good once, or by a token.

import { ApiError, get, post } from "./api.js";
import { el } from "./dom.js";

/**
 * Who we are; nothing if the daemon does not know us.
 * @returns {Promise<{who: string, how: string, version: string, terminal: boolean, fleet: boolean} | undefined>}
 */
export async function whoami() {
  const [code, ...place] = location.pathname === "/login" ? location.hash.slice(1).split("/") : [""];
  let refused = "";
  if (code) {
    // The code is used up, and is not for the history of the browser; what stands behind it is
    // where on the page one wants to be.
    history.replaceState(null, "", place.length > 0 ? `/#/${place.join("/")}` : "/");
    try {
      await post("/login", { code });
    } catch (error) {
      refused = error instanceof Error ? error.message : String(error);
    }
  }
  try {
    return await get("/me");
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) {
      show(refused);
      return undefined;
    }
    throw error;
  }
}

/**
 * Asks for a token.
 * @param {string} [refused] what was wrong with the last attempt
 */
export function show(refused = "") {
  const main = /** @type {HTMLElement} */ (document.getElementById("main"));
  if (main.querySelector("form.login")) return;
  const alert = el("p", { role: "alert", class: "error" }, refused);
  const token = el("input", {
    id: "token",
    type: "password",
    autocomplete: "current-password",
    required: true,
    spellcheck: "false",
  });
  const form = el("form", { class: "login card" },
    el("h1", {}, "Log in"),
    el("p", {}, "On the machine of the daemon, ", el("code", {}, "chardevctl web"),
      " prints a link that logs you in. Or give a token:"),
    el("label", { for: "token" }, "Token"),
    token,
    alert,
    el("button", { class: "main" }, "Log in"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await post("/login", { token: token.value });
      location.reload();
    } catch (error) {
      alert.textContent = error instanceof Error ? error.message : String(error);
      token.select();
    }
  });
  main.replaceChildren(form);
  token.focus();
}
