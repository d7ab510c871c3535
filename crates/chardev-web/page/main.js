// The page: who is there, and what of it is shown.

import { attempt, byId, say } from "./dom.js";
import { post, session } from "./api.js";
import { showList } from "./list.js";
import { show as showLogin, whoami } from "./login.js";
import { showNews, startNews } from "./news.js";
import { setting, showHelp, startTheme } from "./settings.js";

/** @type {() => void} */
let end = () => {};
let route = 0;

async function show() {
  const mine = ++route;
  const [place, query = ""] = location.hash.replace(/^#/, "").split("?");
  const console = place.match(/^\/console\/(.+)$/);
  end();
  end = () => {};
  const main = byId("main");
  // What went wrong elsewhere is over.
  document.querySelector(".complaint")?.remove();
  if (place === "/fleet") byId("fleet").setAttribute("aria-current", "page");
  else byId("fleet").removeAttribute("aria-current");
  if (place === "/fleet") {
    const { showFleet } = await import("./fleet.js");
    if (mine === route) end = showFleet(main);
    return;
  }
  if (!console) {
    end = showList(main);
    return;
  }
  const { showConsole } = await import("./console.js");
  if (mine !== route) return;
  const at = new URLSearchParams(query).get("at");
  end = showConsole(main, decodeURIComponent(console[1]), at === null ? undefined : Number(at));
}

/** @param {KeyboardEvent} event */
function shortcut(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
  const { target } = event;
  const isField = target instanceof HTMLElement && target.closest("input:not([type=range], [type=checkbox]), textarea, select, dialog, .xterm");
  if (isField || setting("singleKeys", "on") !== "on") return;
  const place = /** @type {Record<string, string>} */ ({ "/": "#filter, #find", t: "#type" })[event.key];
  if (event.key === "?") byId("settings").click();
  else if (place) /** @type {HTMLElement | null} */ (document.querySelector(place))?.[event.key === "t" ? "click" : "focus"]();
  else return;
  event.preventDefault();
}

async function start() {
  startTheme();
  const me = await whoami();
  if (!me) return;
  say(byId("state"), me.who);
  byId("fleet").hidden = !me.fleet;
  const logout = byId("logout");
  logout.hidden = false;
  logout.addEventListener("click", () => attempt(async () => {
    await post("/logout");
    location.assign("/");
  }));
  byId("settings").addEventListener("click", () => showHelp(me.version));
  byId("events").addEventListener("click", showNews);
  document.addEventListener("keydown", shortcut);
  session.addEventListener("unknown", () => {
    end();
    end = () => {};
    showLogin();
  });
  addEventListener("hashchange", show);
  await show();
  startNews();
}

attempt(start);
