// Every byte once: over connections that are lost, in a burst, and after a sleep.

import net from "node:net";
import { Daemon, check, openConsole, run, same, until, visitor } from "./rig.mjs";

const LOST = 50;
/** How much is seen between two losses, in bytes. */
const BETWEEN = 16 << 10;
/** How many lines of 16 bytes each console prints. */
const LINES = { cuts: 1_100_000, pour: 720_000, nap: 200_000 };

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
exec = ["sh", "-c", "stty -echo raw; echo ready; read line; exec seq -f '${name.padEnd(4)} %010g' ${lines}"]
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

/** Counts in the page what its terminal is given, from now on. */
function count() {
  return page.evaluate(() => {
    const seen = { first: -1, next: -1, wrong: /** @type {string[]} */ ([]), bytes: /** @type {Uint8Array[]} */ ([]), gaps: /** @type {number[][]} */ ([]) };
    Object.assign(window, { seen });
    const place = /** @type {HTMLElement} */ (document.querySelector(".now"));
    place.addEventListener("output", (event) => {
      const { bytes, offset } = /** @type {CustomEvent} */ (event).detail;
      if (seen.next === -1) seen.first = offset;
      else if (offset !== seen.next) seen.wrong.push(`${offset} after ${seen.next}`);
      seen.next = offset + bytes.length;
      seen.bytes.push(bytes.slice());
    });
    place.addEventListener("gap", (event) => {
      const { from, to } = /** @type {CustomEvent} */ (event).detail;
      if (seen.next !== from) seen.wrong.push(`a gap from ${from} after ${seen.next}`);
      seen.next = to;
      seen.gaps.push([from, to]);
    });
  });
}

/** @returns {Promise<{first: number, next: number, wrong: string[], gaps: number[][]}>} */
function seen() {
  return page.evaluate(() => {
    const { first, next, wrong, gaps } = /** @type {any} */ (window).seen;
    return { first, next, wrong, gaps };
  });
}

/** The length and the digest of what the terminal was given. */
function digest() {
  return page.evaluate(async () => {
    const all = await new Blob(/** @type {any} */ (window).seen.bytes).arrayBuffer();
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", all));
    return { length: all.byteLength, digest: [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("") };
  });
}

/**
 * Has the page sleep, as one does that a phone has put away; returns what wakes it. A page that is
 * to be seen ignores Chromium's own way, Page.setWebLifecycleState, and no page here is hidden.
 */
async function sleep() {
  const session = await page.context().browser()?.newBrowserCDPSession();
  const { processInfo = [] } = await session?.send("SystemInfo.getProcessInfo") ?? {};
  const pages = processInfo.filter(({ type }) => type === "renderer").map(({ id }) => id);
  check(pages.length > 0, "there is a process of the page");
  for (const id of pages) process.kill(id, "SIGSTOP");
  return () => {
    for (const id of pages) process.kill(id, "SIGCONT");
  };
}

/** @param {string} id */
function end(id) {
  return JSON.parse(daemon.ctl(["qmp", "x-query-chardev-stats", JSON.stringify({ id })]))[0]["output-offset"];
}

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
  await count();
  await page.locator(".now .xterm-screen").click();
  // One of them begins while nobody looks.
  if (id === "short") return;
  await page.keyboard.press("Control+J");
  await until("it has begun", async () => (await seen()).next > 0);
}

/** @typedef {keyof typeof LINES} Id */

/**
 * All has come, in order, once, and is what the log has.
 * @param {Id} id
 */
async function checkAll(id) {
  await until(`${id} has printed it all`, () => end(id) > LINES[id] * 16);
  const all = end(id);
  await until(`the page has it all`, async () => (await seen()).next === all, 60_000);
  const { wrong, gaps, first } = await seen();
  same(wrong, [], "what came out of order");
  same(gaps, [], "gaps");
  const { length, digest: is } = await digest();
  same(length > LINES[id] * 16, true, `${length} bytes are all`);
  await until("the log is written", () => daemon.digest(`${id}.log`, first).length === length);
  same(is, daemon.digest(`${id}.log`, first).digest, "the digest of the log");
}

await run({
  async "nothing is missing or doubled over 50 lost connections"() {
    let opened = 0;
    const counted = () => { opened += 1; };
    await begin("cuts", counted);
    for (let lost = 0; lost < LOST; lost += 1) {
      const { next } = await seen();
      await until("more has come", async () => (await seen()).next > next + BETWEEN);
      const before = opened;
      cutter.cut();
      await until("it is connected again", () => opened > before);
    }
    check((await seen()).next < end("cuts"), "there was output at each loss");
    await checkAll("cuts");
    check(opened > LOST, `${opened} connections`);
  },

  async "what is typed arrives once, over lost connections too"() {
    await daemon.link();
    const before = end("echo");
    await begin("echo");
    let words = "";
    for (let round = 0; round < 20; round += 1) {
      const line = `round ${round} of what is typed;`;
      words += line;
      const typed = page.keyboard.type(line);
      cutter.cut();
      await typed;
    }
    await until("all came back", () => end("echo") - before >= words.length + 1);
    const { length } = await until("the page has it", async () => {
      const is = await digest();
      return is.length >= words.length ? is : undefined;
    });
    same(length, end("echo") - before, "bytes");
    const told = await page.evaluate(() => new Blob(/** @type {any} */ (window).seen.bytes).text());
    same(told, `\n${words}`, "what came back");
  },

  async "more than 10 MiB in a burst arrive"() {
    await begin("pour");
    await checkAll("pour");
  },

  async "a tab that sleeps goes on where it was"() {
    await begin("nap");
    const wake = await sleep();
    await until("all is printed meanwhile", () => end("nap") > LINES.nap * 16);
    wake();
    check((await seen()).next < end("nap"), "it has not shown that yet");
    await checkAll("nap");
  },

  async "what is not kept any more is said, with its numbers"() {
    await begin("short");
    const wake = await sleep();
    daemon.ctl(["send", "short", "go\\n"]);
    await until("all is printed meanwhile", () => end("short") > 32_000 * 97);
    wake();
    await until("the page is at the end", async () => (await seen()).next === end("short"));
    const { wrong, gaps, first } = await seen();
    same(wrong, [], "what came out of order");
    const missing = gaps.reduce((sum, [from, to]) => sum + to - from, 0);
    check(missing > 1 << 20, `${missing} bytes are missing, of 3 MiB of which 64 KiB are kept`);
    same((await digest()).length + missing, end("short") - first, "what came, and what is missing");
    const [from, to] = gaps[gaps.length - 1].map((offset) => new Intl.NumberFormat("en").format(offset));
    await page.keyboard.press("Control+Shift+F");
    await page.keyboard.type(`missing here: from ${from} to ${to}`);
    await page.locator(".find").getByText("1 of 1").waitFor();
  },
});
