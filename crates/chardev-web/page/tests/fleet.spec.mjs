// The consoles of a fleet, on the page of one of its hosts; FLEET says where the servers are.

import { Daemon, check, run, same, shoot, shows, until, visitor } from "./rig.mjs";

const servers = (process.env.FLEET ?? "").split(",");

/**
 * A host with a shell on a console.
 * @param {string} host
 * @param {string} id
 * @param {string} [more] what else its `[fleet]` says
 */
function start(host, id, more = "") {
  return new Daemon(`
[fleet]
servers = ${JSON.stringify(servers)}
cluster = "page"
host = "${host}"
stream = { name = "PAGE" }
presence = "3s"
${more}
[console."${id}"]
exec = ["sh", "-c", "PS1='ready: ' exec sh"]
`, { roles: ["view"] });
}

const here = start("node.1", "own");
const there = start("node.2", "b.c", 'qmp = "attach"');
const mute = start("node.3", "closed");

const visit = async (/** @type {string} */ role) => {
  const page = await visitor();
  await page.goto(await here.link(role));
  await page.getByRole("link", { name: "Fleet" }).click();
  await page.getByRole("heading", { name: "Fleet" }).waitFor();
  return page;
};

const card = (/** @type {import("playwright-core").Page} */ page, /** @type {string} */ name) =>
  page.locator(".card", { has: page.getByRole("button", { name, exact: true }) });

await run({
  async "all consoles are there, are sifted, and one's own is a click away"() {
    const page = await visit("");
    for (const name of ["node.1/own", "node.2/b.c", "node.3/closed"]) {
      await card(page, name).getByText("connected", { exact: true }).waitFor();
    }
    await page.getByText("3 of 3 consoles, on 3 hosts that are up").waitFor();
    await shoot(page, "fleet");
    await page.locator("#filter").fill("node.2 connected");
    await page.getByText("1 of 3 consoles, on 3 hosts that are up").waitFor();
    same(await page.locator(".card").count(), 1, "cards that fit");
    await page.locator("#filter").fill("");
    await page.getByRole("button", { name: "node.1/own", exact: true }).click();
    await page.locator(".now .xterm-screen").waitFor();
    check(page.url().endsWith("#/console/own"), page.url());
  },

  async "another host's console opens on its own page, as far as that host lets"() {
    const page = await visit("");
    const before = new URL(page.url()).host;
    await page.getByRole("button", { name: "node.2/b.c", exact: true }).click();
    await page.locator(".now .xterm-screen").waitFor();
    check(new URL(page.url()).host !== before, "it is another page");
    check(!page.url().includes("login"), "the code is not in the history");
    await until("the stream is open", () => page.locator(".strip[data-state=open]").count());
    await page.locator(".now .xterm-screen").click();
    await page.keyboard.type("echo over ''there\n");
    await shows(page, "\nover there\n");
    // An administrator here, and there what its `qmp` says.
    same(await page.getByRole("button", { name: "Change …" }).count(), 0, "a button to change");
  },

  async "who may only look here only looks there"() {
    const page = await visit("view");
    await page.getByRole("button", { name: "node.2/b.c", exact: true }).click();
    await page.locator(".now .xterm-screen").waitFor();
    check(await page.locator("#type").isDisabled(), "there is no way to type");
    await shows(page, "\nover there\n");
  },

  async "a host that serves nobody says so, and one that is gone goes"() {
    const page = await visit("");
    await page.getByRole("button", { name: "node.3/closed", exact: true }).click();
    await page.getByRole("alert").filter({ hasText: /node\.3/ }).waitFor();
    mute.child.kill("SIGKILL");
    await card(page, "node.3/closed").waitFor({ state: "detached" });
    await page.getByText("2 of 2 consoles, on 2 hosts that are up").waitFor();
    check(there.child.exitCode === null && here.child.exitCode === null, "the others are up");
  },
}, { areApart: true });
