// Two users at one console: one may do everything, the other may only look.

import { Daemon, check, openConsole, run, same, screen, shows, until, visitor } from "./rig.mjs";

const daemon = new Daemon(`
[console.shell]
exec = ["sh", "-c", "PS1='ready: ' exec sh"]
[tokens]
file = "DIR/tokens"
`, { roles: ["view", "attach"] });

const visit = async (/** @type {string} */ role) => {
  const page = await visitor();
  await page.goto(await daemon.link(role));
  await page.locator(".console").first().waitFor();
  await openConsole(page, "shell");
  return page;
};

await run({
  async "who may look sees what the other one types, and types nothing"() {
    const [admin, looker] = [await visit(""), await visit("view")];
    await looker.locator(".now .xterm-screen").click();
    await looker.keyboard.type("echo by the looker\n");
    await admin.locator(".now .xterm-screen").click();
    await admin.keyboard.type("echo by the ''admin\n");
    for (const page of [admin, looker]) await shows(page, "\nby the admin\n");
    check(!(await screen(admin)).join("\n").includes("looker"), "the looker has typed nothing");
    check(await looker.locator("#type").isDisabled(), "there is no way to type");
    for (const name of ["Break", "Mark", "Take over", "Change …", "Policy …"]) {
      same(await looker.getByRole("button", { name, exact: true }).count(), 0, `the looker's ${name}`);
    }
    await until("the other one may", () => admin.getByRole("button", { name: "Change …" }).count());
  },

  async "the daemon refuses what the page does not offer"() {
    const looker = await visit("view");
    const tried = await looker.evaluate(async () => {
      const post = async (/** @type {string} */ path, /** @type {string} */ body) => {
        const headers = { "X-Requested-By": "chardev", "Content-Type": "application/json" };
        const { status } = await fetch(`/api/v1/consoles/shell/${path}`, { method: "POST", headers, body });
        return status;
      };
      const opened = (/** @type {string} */ mode) => new Promise((resolve) => {
        const socket = new WebSocket(`/api/v1/consoles/shell/stream?mode=${mode}`);
        socket.onopen = () => resolve(true);
        socket.onerror = () => resolve(false);
      });
      return [
        await post("input", "x"), await post("size", '{"cols": 9, "rows": 9}'),
        await post("change", '{"type": "null", "data": {}}'), await post("policy", "{}"),
        await opened("share"), await opened("watch"),
      ];
    });
    same(tried, [403, 403, 403, 403, false, true], "what came of it");
  },

  async "who may attach is not offered to change"() {
    const page = await visit("attach");
    await page.locator(".now .xterm-screen").click();
    await page.keyboard.type("echo by the ''third\n");
    await shows(page, "\nby the third\n");
    same(await page.getByRole("button", { name: "Change …" }).count(), 0, "a button to change");
  },

  async "nobody is offered to take over from nobody"() {
    const only = await visit("");
    await only.locator(".chip.busy").getByText("on: you", { exact: true }).waitFor();
    same(await only.getByRole("button", { name: "Take over" }).count(), 0, "buttons to take over");
    const other = await visit("attach");
    await only.getByRole("button", { name: "Take over" }).waitFor();
    await other.context().close();
    await only.getByRole("button", { name: "Take over" }).waitFor({ state: "hidden" });
  },

  async "who takes over is alone, and the others are told by whom"() {
    const [first, second] = [await visit("attach"), await visit("")];
    await first.locator(".chip.busy").getByText(/^on: you, .*pid \d+, u|pid \d+, u.*, you$/).waitFor();
    const take = second.getByRole("button", { name: "Take over" });
    await until("it is said from whom", async () => /^Take the console over from .*pid \d+, u/.test(await take.getAttribute("title") ?? ""));
    await second.getByRole("button", { name: "Take over" }).click();
    const dialog = second.getByRole("dialog", { name: "Take over?" });
    await dialog.getByRole("button", { name: "Take over" }).click();
    await first.getByText(/Taken over by .*: you only watch now/).waitFor();
    await first.locator(".now .xterm-screen").click();
    await first.keyboard.type("echo by the first\n");
    await second.locator(".now .xterm-screen").click();
    await second.keyboard.type("echo by the ''second\n");
    for (const page of [first, second]) await shows(page, "\nby the second\n");
    check(!(await screen(second)).join("\n").includes("by the first"), "who was displaced types nothing");
    await first.locator("#type").click();
    await first.keyboard.type("echo once ''more\n");
    for (const page of [first, second]) await shows(page, "\nonce more\n");
  },

  async "a token lets in, as far as its role goes"() {
    const secret = daemon.ctl(["token", "add", "reader", "--role", "view"]).trim().split(/\s+/).find((word) => word.length > 30) ?? "";
    const page = await visitor();
    await page.goto(new URL("/", await daemon.link()).href);
    await page.getByLabel("Token").fill("not a good one");
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByRole("alert").filter({ hasText: /\w/ }).waitFor();
    await page.getByLabel("Token").fill(secret);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.locator(".console").first().waitFor();
    await openConsole(page, "shell");
    check(await page.locator("#type").isDisabled(), "a reader does not type");
    await page.reload();
    await page.locator(".now .xterm-screen").waitFor();
  },
}, { areApart: true });
