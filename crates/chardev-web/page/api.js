// What the daemon is asked, and what it answers.

/**
 * @typedef {{cols: number, rows: number}} Size
 * @typedef {{by: string, mode: string, since: number, own: boolean}} Attached
 * @typedef {{id: string, description?: string, groups?: string[], state?: string, reason?: string, kind?: string,
 *   target?: string, connected: boolean, open: boolean, peer?: string, role: string,
 *   viewers: number, attached?: Attached[], oldest: number, end: number,
 *   drops?: Record<string, number>, size?: Size, program?: Record<string, any>,
 *   backend?: Backend, counters?: Record<string, any>}} Console
 * @typedef {{type: string, data: Record<string, any>}} Backend
 * @typedef {{name: string, type: string, required: boolean, help: string, policy: boolean,
 *   values?: string[]}} Option
 * @typedef {{name: string, summary: string, options: Option[]}} Kind
 * @typedef {{row: number, col: number, width: number, fg?: string, bg?: string, bold?: boolean,
 *   faint?: boolean, reverse?: boolean}} Run
 * @typedef {{cols: number, rows: number, text: string[], attributes?: Run[], redraw?: string,
 *   offset: number, title: string, history: boolean,
 *   cursor: {row: number, col: number, visible: boolean}}} Screen
 * @typedef {{bytes: Uint8Array, start: number, next: number, oldest: number, end: number}} History
 */

export const BASE = "/api/v1";

const ROLES = ["none", "view", "attach", "change", "admin"];

/**
 * Whether a role includes another one.
 * @param {string | undefined} role
 * @param {string} needed
 */
export function may(role, needed) {
  return ROLES.indexOf(role ?? "none") >= ROLES.indexOf(needed);
}

/** An answer that is an error, in the daemon's words. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} kind
   * @param {string} message
   */
  constructor(status, kind, message) {
    super(message);
    this.status = status;
    this.kind = kind;
  }
}

/** Told when the daemon does not know us any more. */
export const session = new EventTarget();

/**
 * @param {string} path
 * @param {RequestInit} [options]
 */
async function ask(path, options = {}) {
  /** @type {Response} */
  let response;
  try {
    response = await fetch(BASE + path, { cache: "no-store", ...options });
  } catch {
    throw new ApiError(0, "unreachable", "The daemon cannot be reached.");
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => null);
  const { class: kind = "failed", message = response.statusText } = told?.error ?? {};
  if (response.status === 401) session.dispatchEvent(new Event("unknown"));
  throw new ApiError(response.status, kind, message);
}

/**
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function get(path, signal) {
  return (await ask(path, { signal })).json();
}

/**
 * @param {string} path
 * @param {any} [body] a value for JSON, or bytes
 * @returns {Promise<any>}
 */
export async function post(path, body = {}) {
  const isBytes = body instanceof Uint8Array;
  const type = isBytes ? "application/octet-stream" : "application/json";
  const response = await ask(path, {
    method: "POST",
    headers: { "X-Requested-By": "chardev", "Content-Type": type },
    body: isBytes ? /** @type {BodyInit} */ (body) : JSON.stringify(body),
  });
  return response.json().catch(() => ({}));
}

/**
 * The path of a console's resource.
 * @param {string} id
 * @param {string} [rest]
 * @param {Record<string, string | number | undefined>} [query]
 */
export function path(id, rest = "", query = {}) {
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) words.set(name, String(value));
  }
  const asked = words.size > 0 ? `?${words}` : "";
  return `/consoles/${encodeURIComponent(id)}${rest && `/${rest}`}${asked}`;
}

/**
 * What a console shows, or has shown. Of one that keeps nothing there is no screen, and it begins
 * where its output is now.
 * @param {string} id
 * @param {{cols?: number, rows?: number, at?: number}} [query]
 * @param {AbortSignal} [signal]
 * @returns {Promise<Screen>}
 */
export async function screenAt(id, query = {}, signal) {
  try {
    return await get(path(id, "screen", query), signal);
  } catch (error) {
    const hasNone = error instanceof ApiError && error.status === 400;
    if (!hasNone) throw error;
    const { cols = 80, rows = 24 } = query;
    const { end } = await get(path(id), signal);
    const cursor = { row: 0, col: 0, visible: true };
    return { cols, rows, text: [], redraw: "", offset: query.at ?? end, title: "", history: false, cursor };
  }
}

/**
 * A piece of what was printed.
 * @param {string} id
 * @param {number} from
 * @param {number} size
 * @param {AbortSignal} [signal]
 * @returns {Promise<History>}
 */
export async function history(id, from, size, signal) {
  const response = await ask(path(id, "history", { from, size }), { signal });
  const number = (/** @type {string} */ name) => Number(response.headers.get(name));
  const bytes = new Uint8Array(await response.arrayBuffer());
  return {
    bytes,
    start: number("x-start"),
    next: number("x-next"),
    oldest: number("x-oldest"),
    end: number("x-end"),
  };
}
