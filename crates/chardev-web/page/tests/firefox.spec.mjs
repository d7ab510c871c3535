// The page in Firefox: it comes in, shows, types, and winds back; and nothing is against its policy.

import { Firefox } from "./bidi.mjs";
import { Daemon, run, same, until } from "./rig.mjs";

const daemon = new Daemon(`
[console.shell]
exec = ["sh", "-c", "PS1='ready: ' TERM=xterm-256color exec sh"]
history = "1M"
`);
const firefox = new Firefox();
const rows = (/** @type {string} */ which) => firefox.text(`[...document.querySelectorAll("${which} .xterm-rows > div")].map((row) => row.textContent.replaceAll("\\u00a0", " ").trimEnd()).join("\\n")`);
const shows = (/** @type {string} */ words, which = ".now") => until(`Firefox shows ${JSON.stringify(words)}`, async () => (await rows(which)).includes(words));
const ENTER = "\uE007";

await run({
  async "a link lets in, and what is typed is answered"() {
    await firefox.start();
    await firefox.open(await daemon.link());
    await until("the list is there", async () => await firefox.text(`document.querySelector(".console h2")?.textContent`) === "shell");
    await firefox.text(`location.hash = "#/console/shell"`);
    await shows("ready:");
    await until("the keys go to the terminal", () => firefox.text(`document.activeElement.className`).then((name) => name.includes("xterm")));
    await firefox.type(`echo $((6 * 7))${ENTER}`);
    await shows("\n42\n");
    await firefox.type(`printf '\\033[38;2;255;140;0mtrue\\033[m'${ENTER}`);
    await shows("\ntrue");
  },

  async "the console has the size of the window"() {
    await firefox.resize(640, 600);
    const size = await until("it is smaller", async () => {
      const [cols, lines] = (await firefox.text(`document.querySelector(".size").textContent`)).split("×").map(Number);
      return cols < 85 && `${lines} ${cols}`;
    });
    await firefox.type(`stty size${ENTER}`);
    await shows(`\n${size}\n`);
  },

  async "it is wound back, and on to now"() {
    await firefox.text(`(() => { const slider = document.querySelector("input[type=range]"); slider.value = "7"; slider.dispatchEvent(new Event("input")); })()`);
    await shows("ready:", ".past");
    same((await rows(".past")).trim(), "ready:", "what was shown after seven bytes");
    await firefox.text(`document.querySelector("#live").click()`);
    await until("the past is away", async () => await firefox.text(`document.querySelector(".past").hidden`) === "true");
  },

  async "nothing was against the page's policy"() {
    // Whatever it has said came before this.
    await firefox.text(`console.error("the last word")`);
    await until("it is heard", () => firefox.complaints.length > 0);
    same(firefox.complaints, ["the last word"], "what Firefox says");
  },
});
