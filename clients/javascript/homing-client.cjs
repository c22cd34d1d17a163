/**
 * Report events through Homing from any Node.js program: one file to copy, nothing to install.
 *
 *     const { Homing } = require("./homing-client.cjs");       // CommonJS
 *     import { Homing } from "./homing-client.cjs";            // ECMAScript module
 *
 *     const homing = new Homing("acme-notes");
 *     homing.track("build.finished", { seconds: 12 });
 *
 * `track` puts the event into a queue and returns; the queue is handed to the agent on this
 * computer, which answers when the events are on its disk. While no agent runs they are written
 * to the spool (docs/spool.md of Homing), which it takes in when it starts.
 *
 * Promises:
 *   1. Nothing here throws into the program or rejects, and only who awaits `flush` or `close` waits.
 *   2. Each event has an id of its own from the start, so it is stored once, however often and by
 *      whichever way it is handed over.
 *   3. At most 10,000 events and 8 MiB are held in memory, and 8 MiB in the spool: beyond that the
 *      newest are dropped, and `stats().dropped` says how many.
 *   4. Socket and timers do not keep the program alive. At its end the agent is given 1 s to
 *      acknowledge; what is left is spooled, after `process.exit()` and an uncaught error too. A
 *      program that is ended by a signal without a listener loses what was tracked in its last
 *      moments, milliseconds mostly: await `flush` before.
 *
 * `DO_NOT_TRACK` in the environment turns all of it off. Node.js 18 or newer; Electron's main process
 * (a renderer reports through the gateway). The file has more than 400 lines because it is copied
 * as one.
 */
"use strict";

const crypto = require("node:crypto");
const fs = require("node:fs");
const net = require("node:net");
const os = require("node:os");
const path = require("node:path");

const APP_ID = /^[A-Za-z0-9_-]{1,64}$/;
const MOST_EVENTS = 10_000;
const MOST_BYTES = 8 * 1024 * 1024;
const EVENT_BYTES = 32 * 1024; // the agent refuses a larger one
const FRAME_EVENTS = 500;
const FRAME_BYTES = 256 * 1024;
const SPOOL_BYTES = 8 * 1024 * 1024; // of one app, over all of its files
const ACK_MS = 10_000; // an agent that has not answered by then is as good as none
const RETRY_MS = 1_000;
const MOST_RETRY_MS = 60_000;
const NOT_ALLOWED_MS = 30_000; // nobody allowed the app yet: a person is not asked every second
const EXIT_MS = 1_000;
const TEXT_CHARACTERS = 4_000; // of an error's message, and of its stack

const clients = new Set();

/** One app that reports. Make one and keep it. */
class Homing {
  #appId;
  #debug;
  #silent;
  #user = null;
  #props = {};
  #socketPath = "";
  #loopbackFile = "";
  #spool = null;
  #queue = []; // { id, line, size }
  #bytes = 0;
  #flying = []; // sent, and not answered yet
  #counts = { tracked: 0, acknowledged: 0, spooled: 0, refused: 0, dropped: 0, connections: 0 };
  #socket = null;
  #open = false;
  #busy = false; // connecting or spooling
  #heard = "";
  #planned = false;
  #urgent = false;
  #closed = false;
  #attempt = 0;
  #retryAt = 0;
  #heldUntil = 0;
  #timer = null;
  #waiting = new Set();

  /**
   * @param {string} appId The app's id, as homing.toml or a person allowed it.
   * @param {object} [options]
   * @param {boolean} [options.spool] Whether to leave events on disk while no agent runs (true).
   * @param {boolean|function(string):void} [options.debug] Where difficulties are told (nowhere).
   * @param {object} [options.env] The environment; HOMING_HOME and others are read from here.
   */
  constructor(appId, { spool = true, debug = false, env = process.env } = {}) {
    this.#appId = String(appId);
    this.#debug = debug;
    const asked = String(env.DO_NOT_TRACK ?? "").trim().toLowerCase();
    this.#silent = !["", "0", "false"].includes(asked);
    try {
      const places = findPlaces(env);
      this.#socketPath = places.socket;
      this.#loopbackFile = path.join(places.state, "loopback.json");
      if (spool) this.#spool = new Spool(path.join(places.state, "spool"), this.#appId);
    } catch (error) {
      this.#say(`cannot tell where the agent is: ${error}`);
    }
    if (clients.size === 0) {
      process.on("beforeExit", lingerAll);
      process.on("exit", leaveAll);
    }
    clients.add(this);
  }

  /** Report that something happened, with JSON properties of its own. */
  track(name, payload) {
    this.#report("event", name, payload);
  }

  /** Report an error; of an Error its message and its stack. */
  error(name, error, payload) {
    const said = {};
    try {
      if (error !== undefined && error !== null) {
        const texts = { message: error.message ?? error, stack: error.stack ?? "" };
        for (const key in texts) said[key] = String(texts[key]).slice(0, TEXT_CHARACTERS);
      }
      Object.assign(said, payload);
    } catch (wrong) {
      this.#say(`an error could not be described: ${describe(wrong)}`);
    }
    this.#report("error", name, Object.keys(said).length ? said : undefined);
  }

  /** Say who uses the app; told with every event from now on. null: nobody. */
  identify(userId) {
    try {
      this.#user = userId === null || userId === undefined ? null : String(userId);
    } catch (wrong) {
      this.#say(`that is no user id: ${describe(wrong)}`);
      return;
    }
    if (this.#user !== null) this.#report("userid");
  }

  /** Add to what is known of the user; the whole of it is told. */
  setProps(props) {
    try {
      Object.assign(this.#props, props);
      this.#report("props", undefined, { ...this.#props });
    } catch (wrong) {
      this.#say(`props must be an object: ${describe(wrong)}`);
    }
  }

  /** Resolve to true when everything tracked so far is on disk, or to false after `ms`. */
  flush(ms = 2_000) {
    return new Promise((resolve) => {
      const one = { done: () => finish(true) };
      // Not unref'd: who awaits this wants the program to live until then.
      const timer = setTimeout(() => finish(this.#pending === 0), ms);
      const finish = (well) => {
        clearTimeout(timer);
        this.#waiting.delete(one);
        resolve(well);
      };
      this.#waiting.add(one);
      this.#urgent = true;
      this.#pump();
    });
  }

  /** Hand everything over or spool it, and end; what is tracked later is dropped. */
  async close(ms = 2_000) {
    await this.flush(ms);
    this.leave();
    this.#closed = true;
    this.#counts.dropped += this.#queue.length;
    this.#queue = [];
    this.#drop();
    clearTimeout(this.#timer);
    clients.delete(this);
    if (clients.size === 0) {
      process.off("beforeExit", lingerAll);
      process.off("exit", leaveAll);
    }
  }

  /** Counts: tracked = acknowledged + spooled + refused + dropped + queued. */
  stats() {
    return { ...this.#counts, queued: this.#pending };
  }

  get #pending() {
    return this.#queue.length + this.#flying.length;
  }

  // --- into the queue ---------------------------------------------------------------------------

  #report(type, name, payload) {
    if (this.#silent) return;
    this.#counts.tracked += 1;
    let event;
    try {
      event = this.#encoded(type, name, payload);
    } catch (wrong) {
      // whatever a payload's own methods throw, too
      this.#counts.refused += 1;
      this.#say(`an event was not taken: ${describe(wrong)}`);
      return;
    }
    const full = this.#queue.length >= MOST_EVENTS || this.#bytes + event.size > MOST_BYTES;
    if (full || this.#closed) {
      this.#counts.dropped += 1;
      if (full) this.#say("an event was dropped: the queue is full");
      return;
    }
    this.#queue.push(event);
    this.#bytes += event.size;
    this.#plan();
  }

  #encoded(type, name, payload) {
    if (!APP_ID.test(this.#appId)) {
      throw new TypeError(`an app's id is 1 to 64 of A-Z a-z 0-9 _ -, got ${this.#appId}`);
    }
    const event = { type };
    if (name !== undefined && name !== null) event.name = String(name);
    event.id = crypto.randomBytes(15).toString("base64url");
    event.date = new Date().toISOString();
    if (this.#user !== null) event.userId = this.#user;
    if (payload !== undefined && payload !== null) {
      if (typeof payload !== "object" || Array.isArray(payload)) {
        throw new TypeError("a payload must be an object");
      }
      event.payload = payload;
    }
    const line = JSON.stringify(event, onlyFinite);
    const size = Buffer.byteLength(line);
    if (size > EVENT_BYTES) throw new RangeError(`${size} bytes, the limit is ${EVENT_BYTES}`);
    return { id: event.id, line, size };
  }

  /** Hand over at the end of this turn of the loop, so that what is tracked together goes together. */
  #plan() {
    if (this.#planned) return;
    this.#planned = true;
    setImmediate(() => {
      this.#planned = false;
      this.#pump();
    });
  }

  #say(sentence) {
    try {
      if (typeof this.#debug === "function") this.#debug(sentence);
      else if (this.#debug) process.stderr.write(`homing: ${sentence}\n`);
    } catch {
      // a debug function that throws, or a closed stderr
    }
  }

  // --- to the agent -----------------------------------------------------------------------------

  /** Do the next thing that can be done; called whenever something has changed. */
  #pump() {
    if (this.#flying.length || this.#busy) return;
    if (!this.#queue.length) {
      this.#urgent = false;
      for (const one of [...this.#waiting]) one.done();
      return;
    }
    const now = performance.now();
    if (this.#open) {
      if (now >= this.#heldUntil) this.#send();
      else this.#later(this.#heldUntil - now, () => this.#pump());
    } else if (this.#urgent || now >= this.#retryAt) {
      this.#urgent = false;
      this.#connect();
    } else {
      this.#spoolLater();
    }
  }

  #later(ms, then) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, ms);
    this.#timer.unref();
  }

  async #connect() {
    this.#busy = true;
    try {
      const [where, hello] = await later(checkedAddress(this.#socketPath, this.#loopbackFile));
      const socket = net.connect(where);
      this.#socket = socket;
      socket.unref();
      if (lingering) socket.ref();
      socket.setEncoding("utf8");
      socket.on("error", (error) => this.#lost(socket, `no agent: ${error.message}`));
      socket.on("close", () => this.#lost(socket, "the agent closed the connection"));
      socket.on("data", (text) => this.#hear(socket, text));
      socket.on("connect", () => {
        this.#busy = false;
        this.#open = true;
        this.#heard = "";
        this.#counts.connections += 1;
        if (hello) socket.write(hello);
        this.#pump();
      });
    } catch (error) {
      this.#lost(this.#socket, `no agent: ${describe(error)}`);
    }
  }

  #send() {
    let size = 0;
    let count = 0;
    while (count < this.#queue.length && count < FRAME_EVENTS && size < FRAME_BYTES) {
      size += this.#queue[count].size;
      count += 1;
    }
    this.#flying = this.#queue.splice(0, count);
    this.#bytes -= size;
    const lines = this.#flying.map((event) => event.line).join(",");
    const socket = this.#socket;
    this.#later(ACK_MS, () => this.#lost(socket, "the agent does not answer"));
    socket.write(`{"appId":${JSON.stringify(this.#appId)},"data":[${lines}]}\n`);
  }

  #hear(socket, text) {
    if (socket !== this.#socket) return;
    this.#heard += text;
    const end = this.#heard.indexOf("\n");
    try {
      if (end >= 0) {
        const line = this.#heard.slice(0, end);
        this.#heard = this.#heard.slice(end + 1);
        this.#answered(JSON.parse(line));
      } else if (this.#heard.length > MOST_BYTES) {
        throw new RangeError("an answer without an end");
      }
    } catch (error) {
      this.#lost(socket, `the agent's answer makes no sense: ${describe(error)}`);
    }
  }

  #answered(said) {
    clearTimeout(this.#timer);
    const ids = new Set(said.reportedIds ?? []);
    const bad = new Set((said.refused ?? []).map((one) => one.index));
    const sent = this.#flying;
    const left = sent.filter((event) => !ids.has(event.id));
    const refused = sent.filter((event, n) => bad.has(n) && ids.has(event.id)).length;
    this.#flying = left;
    this.#counts.refused += refused;
    this.#counts.acknowledged += sent.length - left.length - refused;
    if (said.error) this.#say(String(said.error));
    const code = String(said.code ?? "");
    if (!left.length) {
      this.#attempt = 0;
    } else if (code === "request.over_quota") {
      this.#heldUntil = performance.now() + RETRY_MS * (1 + Math.random());
      this.#flying = [];
      this.#back(left);
    } else {
      this.#lost(this.#socket, `${left.length} events were not taken`);
      if (code.startsWith("request") || code.startsWith("consent")) {
        this.#retryAt = performance.now() + NOT_ALLOWED_MS * (1 + Math.random());
      }
    }
    this.#pump();
  }

  #back(events) {
    this.#queue = [...events, ...this.#queue];
    this.#bytes += events.reduce((sum, event) => sum + event.size, 0);
  }

  /**
   * End the connection; what flew is queued again, and the next dial is put off. One that ends in
   * silence (an agent closes what is idle for long) is no reason to wait.
   */
  #lost(socket, why) {
    if (socket !== this.#socket || this.#closed) return;
    this.#say(why);
    const silent = this.#open && !this.#flying.length;
    this.#drop();
    const flew = this.#flying;
    this.#flying = [];
    this.#back(flew);
    this.#busy = false;
    if (!silent) {
      const ceiling = Math.min(MOST_RETRY_MS, RETRY_MS * 2 ** Math.min(this.#attempt, 16));
      this.#attempt += 1;
      this.#retryAt = performance.now() + 50 + Math.random() * ceiling; // full jitter
    }
    this.#plan();
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    this.#open = false;
    if (socket) {
      socket.removeAllListeners();
      socket.on("error", () => {}); // one that is still on its way is nobody's
      socket.destroy();
    }
  }

  // --- the spool --------------------------------------------------------------------------------

  async #spoolLater() {
    const events = [...this.#queue];
    this.#busy = true;
    let kept = -1;
    try {
      if (this.#spool) kept = await later(this.#spool.append(events, false));
    } catch (error) {
      this.#say(`the spool cannot be written: ${describe(error)}`);
    }
    this.#busy = false;
    if (kept >= 0) this.#left(events, kept);
    else this.#later(Math.max(0, this.#retryAt - performance.now()), () => this.#pump());
    if (kept >= 0) this.#pump();
  }

  #left(events, kept) {
    const gone = new Set(events);
    const before = this.#queue.length;
    this.#queue = this.#queue.filter((event) => !gone.has(event));
    if (this.#queue.length === before) return; // the end of the program was faster
    this.#bytes = this.#queue.reduce((sum, event) => sum + event.size, 0);
    this.#counts.spooled += kept;
    this.#counts.dropped += events.length - kept;
    if (kept < events.length) this.#say(`${events.length - kept} events were dropped: spool full`);
  }

  /** Spool what is unacknowledged, at once; for the end of the program. */
  leave() {
    this.#back(this.#flying);
    this.#flying = [];
    if (!this.#spool || !(this.#queue.length || this.#spool.untold)) return;
    const events = [...this.#queue];
    try {
      this.#left(events, now(this.#spool.append(events, true)));
    } catch (error) {
      this.#say(`the spool cannot be written: ${describe(error)}`);
    }
  }

  /** Keep the program alive until all is acknowledged or spooled, but for 1 s at most. */
  linger() {
    if (!this.#pending) return false;
    this.#socket?.ref();
    this.#urgent = true;
    this.#pump();
    return true;
  }

  /** Whether nothing waits any more; then, or when time is `over`, the socket keeps nobody alive. */
  rests(over) {
    if (over || !this.#pending) this.#socket?.unref();
    return !this.#pending;
  }
}

let lingering = false;

function lingerAll() {
  if (lingering || ![...clients].filter((client) => client.linger()).length) return;
  lingering = true;
  const ends = performance.now() + EXIT_MS;
  const look = () => {
    const over = performance.now() >= ends;
    if (over) leaveAll();
    const busy = [...clients].filter((client) => !client.rests(over)).length > 0;
    if (!busy) lingering = false; // what is tracked from now on has a second of its own
    else if (!over) setTimeout(look, 5);
  };
  look();
}

function leaveAll() {
  for (const client of clients) client.leave();
}

/**
 * Appends to a file of this process's own, as docs/spool.md of Homing says. What it does is written
 * once, as steps: `later` takes them without blocking, `now` at the end of the program.
 */
class Spool {
  #folder;
  #begins;
  #header;
  #file = "";
  #torn = false;
  #dropped = 0;
  #told = 0;

  constructor(folder, appId) {
    this.#folder = folder;
    this.#begins = `${sha256(appId).slice(0, 16)}-`;
    this.#header = `${JSON.stringify({ spool: 1, appId })}\n`;
  }

  /** How many events were dropped of which no file tells yet. */
  get untold() {
    return this.#dropped - this.#told;
  }

  /** Write events; the result is how many there was room for, the others are counted in the file. */
  *append(events, last) {
    yield* this.#examine();
    let room = SPOOL_BYTES - (yield* this.#size()) - this.#header.length;
    let kept = 0;
    for (; kept < events.length; kept += 1) {
      room -= events[kept].size + 1;
      if (room < 0) break;
    }
    let body = events.slice(0, kept).map((event) => `${event.line}\n`).join("");
    const untold = this.untold + events.length - kept;
    const tell = untold > 0 && (last || untold >= this.#told); // in doubling steps: it stays small
    if (tell) body += `{"dropped":${untold}}\n`;
    for (let n = 0; body && !(yield* this.#write(body)); n += 1) {
      if (n === 8) throw new Error("the agent takes each file before it is written");
    }
    this.#dropped += events.length - kept;
    if (tell) this.#told = this.#dropped;
    return kept;
  }

  /** Write in one piece; the result is whether the name still led to the file after that. */
  *#write(body) {
    const { O_WRONLY, O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW = 0 } = fs.constants;
    const flags = O_WRONLY | O_APPEND | O_NOFOLLOW;
    let fd;
    let text = body;
    if (this.#file) {
      try {
        fd = yield ["open", this.#file, flags];
        if (this.#torn) text = `\n${body}`;
      } catch (error) {
        if (error.code !== "ENOENT") throw error;
        this.#file = "";
      }
    }
    if (!this.#file) {
      const random = crypto.randomBytes(8).toString("hex");
      const file = path.join(this.#folder, `${this.#begins}${random}.ndjson`);
      fd = yield ["open", file, flags | O_CREAT | O_EXCL, 0o600];
      this.#file = file;
      text = this.#header + body;
    }
    const bytes = Buffer.from(text);
    let mine;
    try {
      this.#torn = true;
      if ((yield ["write", fd, bytes, 0, bytes.length, null]) !== bytes.length) {
        throw new Error("the disk is full");
      }
      this.#torn = false;
      mine = yield ["fstat", fd, { bigint: true }];
    } finally {
      yield ["close", fd];
    }
    const named = yield* orNothing(["lstat", this.#file, { bigint: true }]);
    if (named && named.dev === mine.dev && named.ino === mine.ino) return true;
    this.#file = "";
    this.#torn = false;
    return false;
  }

  /** Make the folder, and refuse one that others may enter. */
  *#examine() {
    yield* orNothing(["mkdir", this.#folder, { recursive: true, mode: 0o700 }]);
    const found = yield ["lstat", this.#folder];
    if (!found.isDirectory() || foreign(found) || loose(found, 0o077)) {
      throw new Error(`${this.#folder} is not a folder of this user alone`);
    }
  }

  *#size() {
    let total = 0;
    for (const name of yield ["readdir", this.#folder]) {
      if (!name.startsWith(this.#begins)) continue;
      const found = yield* orNothing(["lstat", path.join(this.#folder, name)]);
      if (found) total += found.size;
    }
    return total;
  }
}

// --- steps on the file system, taken at once or later ---------------------------------------------

function* orNothing(step) {
  try {
    return yield step;
  } catch {
    return null;
  }
}

function now(steps) {
  let next = steps.next();
  while (!next.done) {
    const [name, ...words] = next.value;
    let result;
    try {
      result = fs[`${name}Sync`](...words);
    } catch (error) {
      next = steps.throw(error);
      continue;
    }
    next = steps.next(result);
  }
  return next.value;
}

async function later(steps) {
  let next = steps.next();
  while (!next.done) {
    const [name, ...words] = next.value;
    let result;
    try {
      result = await new Promise((resolve, reject) => {
        fs[name](...words, (error, value) => (error ? reject(error) : resolve(value)));
      });
    } catch (error) {
      next = steps.throw(error);
      continue;
    }
    next = steps.next(result);
  }
  return next.value;
}

// --- where the agent is, and whether it is ours ---------------------------------------------------

/** The socket's path and the state folder, as the agent itself finds them. */
function findPlaces(env) {
  const runtime = env.XDG_RUNTIME_DIR || "";
  let shared = "";
  try {
    const found = fs.lstatSync(runtime);
    const ours = found.isDirectory() && !foreign(found) && !loose(found, 0o077);
    if (ours && path.isAbsolute(runtime)) shared = path.join(runtime, "homing");
  } catch {
    // there is none
  }
  let state;
  let socket;
  if (env.HOMING_HOME) {
    const home = path.resolve(env.HOMING_HOME.replace(/^~(?=$|[\\/])/, os.homedir()));
    state = path.join(home, "state");
    socket = path.join(home, "run", "agent.sock");
  } else {
    const user = os.homedir();
    if (process.platform === "win32") {
      state = env.LOCALAPPDATA || path.join(user, "AppData", "Local");
    } else if (process.platform === "darwin") {
      state = path.join(user, "Library", "Application Support");
    } else {
      state = env.XDG_STATE_HOME || path.join(user, ".local", "state");
    }
    state = path.join(state, "homing");
    socket = path.join(shared || state, "agent.sock");
  }
  const most = process.platform === "darwin" ? 103 : 107;
  if (shared && Buffer.byteLength(socket) > most) {
    const short = path.join(shared, `${sha256(socket).slice(0, 16)}.sock`);
    if (Buffer.byteLength(short) <= most) socket = short;
  }
  return { state, socket };
}

/** What `net.connect` is given, and what is to be said first; throws if it is somebody else's. */
function* checkedAddress(socket, loopbackFile) {
  const found = yield* orNothing(["lstat", socket]);
  if (!found) {
    const { O_RDONLY, O_NOFOLLOW = 0 } = fs.constants;
    const fd = yield ["open", loopbackFile, O_RDONLY | O_NOFOLLOW];
    try {
      const file = yield ["fstat", fd];
      if (foreign(file) || loose(file, 0o077)) throw new Error(`${loopbackFile} can be read by others`);
      const { port, token } = JSON.parse(yield ["readFile", fd, "utf8"]);
      return [{ host: "127.0.0.1", port }, `${JSON.stringify({ token })}\n`];
    } finally {
      yield ["close", fd];
    }
  }
  const folder = yield ["lstat", path.dirname(socket)];
  if (!folder.isDirectory() || foreign(folder) || loose(folder, 0o022)) {
    throw new Error(`${path.dirname(socket)} is not this user's own`);
  }
  if (!found.isSocket() || foreign(found)) throw new Error(`${socket} is not this user's own`);
  return [{ path: socket }, ""]; // who is at the other end, Node.js cannot tell
}

function foreign(found) {
  return process.getuid !== undefined && Number(found.uid) !== process.getuid();
}

function loose(found, bits) {
  return process.getuid !== undefined && (Number(found.mode) & bits) !== 0;
}

function sha256(text) {
  return crypto.createHash("sha256").update(text).digest("hex");
}

/** JSON would turn NaN and Infinity into null without a word. */
function onlyFinite(key, value) {
  if (typeof value === "number" && !Number.isFinite(value)) {
    throw new RangeError(`${key} is ${value}, which JSON cannot say`);
  }
  return value;
}

function describe(error) {
  try {
    return String(error?.message ?? error);
  } catch {
    return "something that cannot be described";
  }
}

exports.Homing = Homing;
