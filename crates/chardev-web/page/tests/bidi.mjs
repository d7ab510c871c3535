// Firefox, by WebDriver BiDi: as much of it as the tests need.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ending, until } from "./rig.mjs";

// Node.js itself has no WebSocket before 22, and this one has no types.
const { ws: Socket } = createRequire(import.meta.url)("playwright-core/lib/utilsBundle");

const { FIREFOX = "/usr/bin/firefox-esr" } = process.env;

export class Firefox {
  constructor() {
    const profile = mkdtempSync(join(tmpdir(), "chardev-firefox-"));
    this.said = "";
    this.count = 0;
    /** What the page has complained about. @type {string[]} */
    this.complaints = [];
    /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
    this.asked = new Map();
    this.child = spawn(FIREFOX, ["--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"], { stdio: ["ignore", "ignore", "pipe"] });
    this.child.on("error", (error) => { this.said += `${error}: run ./setup`; });
    this.child.stderr.on("data", (text) => { this.said += text; });
    ending(async () => {
      const ended = new Promise((resolve) => { this.child.once("exit", resolve); });
      this.child.kill("SIGKILL");
      await ended;
      rmSync(profile, { recursive: true, force: true, maxRetries: 10 });
    });
  }

  async start() {
    const [, url] = await until(`Firefox listens`, () => {
      if (this.said.includes("run ./setup")) throw new Error(this.said);
      return this.said.match(/BiDi listening on (ws:\S+)/);
    });
    this.socket = new Socket(`${url}/session`);
    this.socket.on("message", (/** @type {Buffer} */ text) => this.hear(JSON.parse(text.toString())));
    await new Promise((resolve, reject) => {
      this.socket.on("open", resolve);
      this.socket.on("error", reject);
    });
    await this.ask("session.new", { capabilities: {} });
    await this.ask("session.subscribe", { events: ["log.entryAdded"] });
    const { contexts } = await this.ask("browsingContext.getTree", {});
    this.context = contexts[0].context;
  }

  /** @param {any} told */
  hear(told) {
    if (told.method === "log.entryAdded" && told.params.level === "error") this.complaints.push(told.params.text);
    const waiting = this.asked.get(told.id);
    if (!waiting) return;
    this.asked.delete(told.id);
    if (told.type === "error") waiting.reject(new Error(`${told.error}: ${told.message}`));
    else waiting.resolve(told.result);
  }

  /**
   * @param {string} method
   * @param {Record<string, any>} params
   * @returns {Promise<any>}
   */
  ask(method, params) {
    this.count += 1;
    const id = this.count;
    this.socket.send(JSON.stringify({ id, method, params }));
    return new Promise((resolve, reject) => { this.asked.set(id, { resolve, reject }); });
  }

  /** @param {string} url */
  open(url) {
    return this.ask("browsingContext.navigate", { context: this.context, url, wait: "complete" });
  }

  /**
   * The text that an expression gives in the page.
   * @param {string} expression
   * @returns {Promise<string>}
   */
  async text(expression) {
    const { result, exceptionDetails } = await this.ask("script.evaluate", {
      expression: `String(${expression})`, target: { context: this.context }, awaitPromise: true,
    });
    if (exceptionDetails) throw new Error(exceptionDetails.text);
    return result.value;
  }

  /** @param {string} keys */
  type(keys) {
    const actions = [...keys].flatMap((value) => [{ type: "keyDown", value }, { type: "keyUp", value }]);
    return this.ask("input.performActions", { context: this.context, actions: [{ type: "key", id: "keys", actions }] });
  }

  /**
   * @param {number} width
   * @param {number} height
   */
  resize(width, height) {
    return this.ask("browsingContext.setViewport", { context: this.context, viewport: { width, height } });
  }
}
