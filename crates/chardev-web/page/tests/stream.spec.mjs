// Every byte once: over connections that are lost, in a burst, and after a sleep.

import net from "node:net";
import { Daemon, check, openConsole, run, same, until, visitor } from "./rig.mjs";
import { count, digest, seen, sleep } from "./seen.mjs";

const LOST = 50;
/** How much is seen between two losses, in bytes. */
const BETWEEN = 16 << 10;
/** How many lines of 16 bytes each console prints, once or each time that more is wanted. */
const LINES = { cuts: 200_000, pour: 720_000, nap: 200_000 };
/** What each says before that. */
const READY = "ready\n".length;
/** How much is to be there at a loss that the page has not seen. */
const AHEAD = 2 << 20;

/** Passes connections on, until it is told to cut them. */
class Cutter {
  constructor() {
    /** @type {Set<net.Socket>} */
    this.open = new Set();
    this.target = 0;
    this.server = net.createServer((near) => {
      const far = net.connect(this.target, "127.0.0.1");
      for (const [one, other] of [[near, far], [far, near]]) {
        one.pipe(other);
        one.on("error", () => other.destroy());
        one.on("close", () => {
          other.destroy();
          this.open.delete(one);
        });
      }
      this.open.add(near);
    });
    this.server.unref();
  }

  /** @returns {Promise<number>} */
  listen() {
    return new Promise((resolve) => {
      this.server.listen(0, "127.0.0.1", () => resolve(/** @type {net.AddressInfo} */ (this.server.address()).port));
    });
  }

  cut() {
    for (const one of this.open) one.resetAndDestroy();
  }
}

const cutter = new Cutter();
const port = await cutter.listen();
const burst = (/** @type {[string, number]} */ [name, lines]) => `
[console.${name}]
exec = ["sh", "-c", "stty -echo raw; echo ready; at=0; while read line; do seq -f '${name.padEnd(4)} %010.0f' $((at + 1)) $((at + ${lines})); at=$((at + ${lines})); done"]
history = "64M"
log = { file = "DIR/${name}.log", size = "1G", count = 1 }
`;
const daemon = new Daemon(`${Object.entries(LINES).map(burst).join("")}
[console.short]
exec = ["sh", "-c", "stty -echo; echo ready; read line; seq -f 'short %090g' 32000; exec cat"]
[console.echo]
exec = ["sh", "-c", "stty raw -echo; exec cat"]
`, { hosts: [`127.0.0.1:${port}`] });
/** @type {import("playwright-core").Page} */
let page;

/**
 * @param {string} id
 * @param {() => void} [opened] told of each connection
 */
async function begin(id, opened = () => {}) {
  if (!page) {
    const link = new URL(await daemon.link());
    cutter.target = Number(link.port);
    link.port = String(port);
    // Most of the time goes into drawing, without a graphics card.
    page = await visitor({ viewport: { width: 1000, height: 380 } });
    await page.goto(link.href);
    await page.locator(".console").first().waitFor();
  }
  page.on("websocket", opened);
  await openConsole(page, id);
  await count(page);
  await page.locator(".now .xterm-screen").click();
  // One of them begins while nobody looks.
  if (id === "short") return;
  await page.keyboard.press("Control+J");
  await until("it has begun", async () => (await seen(page)).next > 0);
}

/** @typedef {keyof typeof LINES} Id */

/** How often a console has been asked for its lines. @type {Record<string, number>} */
const asked = {};

/**
 * All has come, in order, once, and is what the log has.
 * @param {Id} id
 */
async function checkAll(id) {
  const all = READY + LINES[id] * 16 * (asked[id] ?? 1);
  await until(`${id} has printed it all`, () => daemon.end(id) === all);
  await until(`the page has it all`, async () => (await seen(page)).next === all, 60_000);
  const { wrong, gaps, first } = await seen(page);
  same(wrong, [], "what came out of order");
  same(gaps, [], "gaps");
  const { length, digest: is } = await digest(page);
  same(length, all - READY, "bytes");
  await until("the log is written", () => daemon.digest(`${id}.log`, first).length === length);
  same(is, daemon.digest(`${id}.log`, first).digest, "the digest of the log");
}

await run({
  async "nothing is missing or doubled over 50 lost connections"() {
    let opened = 0;
    const counted = () => { opened += 1; };
    await begin("cuts", counted);
    asked.cuts = 1;
    for (let lost = 0; lost < LOST; lost += 1) {
      const { next } = await seen(page);
      if (asked.cuts * LINES.cuts * 16 - next < AHEAD) {
        daemon.ctl(["send", "cuts", "more\\n"]);
        asked.cuts += 1;
      }
      const shown = await until("more has come", async () => {
        const now = await seen(page);
        return now.next > next + BETWEEN ? now.next : undefined;
      });
      check(shown < asked.cuts * LINES.cuts * 16, "there is output that it has not seen");
      const before = opened;
      cutter.cut();
      await until("it is connected again", () => opened > before);
    }
    await checkAll("cuts");
    check(opened > LOST, `${opened} connections`);
  },

  async "what is typed arrives once, over lost connections too"() {
    await daemon.link();
    const before = daemon.end("echo");
    await begin("echo");
    let words = "";
    for (let round = 0; round < 20; round += 1) {
      const line = `round ${round} of what is typed;`;
      words += line;
      const typed = page.keyboard.type(line);
      cutter.cut();
      await typed;
    }
    await until("all came back", () => daemon.end("echo") - before >= words.length + 1);
    const { length } = await until("the page has it", async () => {
      const is = await digest(page);
      return is.length >= words.length ? is : undefined;
    });
    same(length, daemon.end("echo") - before, "bytes");
    const told = await page.evaluate(() => new Blob(/** @type {any} */ (window).seen.bytes).text());
    same(told, `\n${words}`, "what came back");
  },

  async "more than 10 MiB in a burst arrive"() {
    await begin("pour");
    await checkAll("pour");
  },

  async "a tab that sleeps goes on where it was"() {
    await begin("nap");
    const wake = await sleep(page);
    await until("all is printed meanwhile", () => daemon.end("nap") > LINES.nap * 16);
    wake();
    check((await seen(page)).next < daemon.end("nap"), "it has not shown that yet");
    await checkAll("nap");
  },

  async "what is not kept any more is said, with its numbers"() {
    await begin("short");
    const wake = await sleep(page);
    daemon.ctl(["send", "short", "go\\n"]);
    await until("all is printed meanwhile", () => daemon.end("short") > 32_000 * 97);
    wake();
    await until("the page is at the end", async () => (await seen(page)).next === daemon.end("short"));
    const { wrong, gaps, first } = await seen(page);
    same(wrong, [], "what came out of order");
    const missing = gaps.reduce((sum, [from, to]) => sum + to - from, 0);
    check(missing > 1 << 20, `${missing} bytes are missing, of 3 MiB of which 64 KiB are kept`);
    same((await digest(page)).length + missing, daemon.end("short") - first, "what came, and what is missing");
    const [from, to] = gaps[gaps.length - 1].map((offset) => new Intl.NumberFormat("en").format(offset));
    await page.keyboard.press("Control+Shift+F");
    await page.keyboard.type(`missing here: from ${from} to ${to}`);
    await page.locator(".find").getByText("1 of 1").waitFor();
  },

  async "a console that was removed is shown again once it is there again"() {
    const add = ["qmp", "chardev-add", JSON.stringify({ id: "fleeting", backend: { type: "ringbuf", data: { size: 64 } } })];
    daemon.ctl(add);
    await openConsole(page, "fleeting");
    daemon.ctl(["remove", "fleeting"]);
    await page.locator(".strip[data-state=ended]").getByText("does not exist any more").waitFor();
    daemon.ctl(add);
    await page.locator(".strip[data-state=open]").waitFor({ state: "attached" });
  },
});
