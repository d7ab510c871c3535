// A tab that sleeps for a minute at full output: what it costs meanwhile, and how it goes on.

import { once } from "node:events";
import { readFileSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import { Daemon, check, openConsole, run, same, until, visitor } from "./rig.mjs";
import { count, seen, sleep } from "./seen.mjs";

/** How long the tab sleeps, in ms. */
const LONG = 60_000;
/** How many lines of 16 bytes its console prints at a time, with half a second between. */
const MANY = 1 << 16;

/** One that prints all the time, with another one beside it. */
const daemon = new Daemon(`
[console.doze]
exec = ["sh", "-c", "stty -echo raw; read line; at=0; while :; do seq -f 'doze %010.0f' $at $((at + ${MANY - 1})); at=$((at + ${MANY})); sleep 0.5; done"]
history = "1M"
[console.beside]
exec = ["sh", "-c", "stty raw -echo; exec cat"]
to = "unix:DIR/beside.sock,server=on,wait=off"
`);

/** The daemon's memory, in KiB. */
function memory() {
  const [, size] = readFileSync(`/proc/${daemon.child.pid}/status`, "utf8").match(/^VmRSS:\s+(\d+)/m) ?? [];
  return Number(size);
}

/** The median of how long a byte takes through the console beside, there and back, in ms. */
async function roundTrip() {
  const socket = net.connect(join(daemon.dir, "beside.sock"));
  await once(socket, "connect");
  const times = [];
  for (let turn = 0; turn < 200; turn += 1) {
    const began = performance.now();
    socket.write("x");
    await once(socket, "data");
    times.push(performance.now() - began);
  }
  socket.destroy();
  return times.sort((a, b) => a - b)[100];
}

/** Where the page was given something else than the console has printed there. */
function wrongPlaces() {
  return page.evaluate(() => {
    const { bytes, places } = /** @type {{bytes: Uint8Array[], places: number[]}} */ (/** @type {any} */ (window).seen);
    return places.filter((place, at) => {
      const [first, last] = [place, place + bytes[at].length].map((offset) => Math.floor(offset / 16));
      const lines = Array.from({ length: last - first + 1 }, (_, line) => `doze ${String(first + line).padStart(10, "0")}\n`);
      return new TextDecoder().decode(bytes[at]) !== lines.join("").substr(place % 16, bytes[at].length);
    });
  });
}
/** @type {import("playwright-core").Page} */
let page;

await run({
  async "a tab that sleeps for a minute goes on, and nobody has felt it"() {
    page = await visitor({ viewport: { width: 1000, height: 380 } });
    await page.goto(await daemon.link());
    await page.locator(".console").first().waitFor();
    await openConsole(page, "doze");
    await count(page);
    daemon.ctl(["send", "doze", "go\\n"]);
    await until("it has begun", async () => (await seen(page)).next > 0);
    const wake = await sleep(page);
    const since = Date.now();
    await until("more is printed than is kept", () => daemon.end("doze") > 2 << 20);
    const before = memory();

    await until("the minute is over", () => Date.now() - since >= LONG, LONG + 1000);
    const printed = daemon.end("doze");
    const [grown, beside] = [memory() - before, await roundTrip()];
    console.log(`note   ${printed >> 20} MiB were printed, ${grown} KiB more are used, ${beside.toFixed(2)} ms a byte beside`);
    check(printed > 16 << 20, `${printed} bytes were printed, of which 1 MiB is kept`);
    check(grown < 8 << 10, `the daemon has ${grown} KiB more`);
    check(beside <= 20, `a byte beside takes ${beside} ms`);

    wake();
    await until("it has what is printed after that", async () => (await seen(page)).next > printed);
    const { wrong, gaps } = await seen(page);
    same(wrong, [], "what came out of order");
    same(await wrongPlaces(), [], "where it was given something else than was printed");
    const missing = gaps.reduce((sum, [from, to]) => sum + to - from, 0);
    check(missing > printed / 2, `${missing} bytes of ${printed} are told to be missing: it slept`);
  },
});
