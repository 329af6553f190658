/**
 * A store for express-session, to move an app by one line; `middleware` of this package is the
 * better end of the way, since it shares the session with other languages.
 *
 *     app.use(session({ store: new PazzoStore(manager), secret, resave: false, saveUninitialized: false }));
 *
 * Each member of the session is a field of a record of its own. A save sends what has changed since
 * the session was loaded, so that requests at the same time lose nothing of one another's unless
 * they change the same member; then the last one wins. A session that was destroyed meanwhile is
 * not brought back: the save gets a GoneError.
 */

import { createHash } from "node:crypto";
import { type SessionData, Store } from "express-session";
import * as b from "./batch";
import { Batch, MAX_TIMEOUT, Mode, type Part, Reason } from "./batch";
import { Data } from "./data";
import { GoneError } from "./errors";
import { warn } from "./log";
import type { Core, Manager } from "./manager";
import { checked } from "./state";
import { encode } from "./values";
import { type Reply, Status } from "./wire";

/** How often a store that was lost is tried again, in ms. */
const RETRY = 500;
/** How many keys one step of a scan looks at. */
const PAGE = "1000";

/** How a store is set up. */
export interface StoreOptions {
  /**
   * How long, in seconds, a session without activity lasts whose cookie has no age: by default the
   * idle timeout of the manager. A cookie with an age gives its session the same.
   */
  readonly ttl?: number;
}

type Done<T = void> = (error?: unknown, result?: T) => void;
type Fields = Record<string, unknown>;

/**
 * Keeps the sessions of express-session. It emits `connect` when the store can be reached, and
 * `disconnect` when it cannot be any more; express-session then serves requests without sessions.
 */
export class PazzoStore extends Store {
  readonly #core: Core;
  readonly #ttl: number;
  /** What each session object was loaded from or last saved as. */
  readonly #baselines = new WeakMap<object, ReadonlyMap<string, Buffer>>();
  #connected: boolean | undefined;
  #watch: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(manager: Manager, { ttl }: StoreOptions = {}) {
    super();
    this.#core = manager.core;
    this.#ttl = Math.round((ttl ?? this.#core.settings.timeouts.idle) * 1000);
    this.#core.store.transport.onLost = () => void this.#check();
    void this.#check();
  }

  /** Gets a session; null if there is none. */
  override get(sid: string, callback: Done<SessionData | null>): void {
    finish(this.#get(sid), callback);
  }

  async #get(sid: string): Promise<SessionData | null> {
    const { handle, access } = placeOf(sid);
    const reply = await this.#core.apply(handle, new Batch([b.getAll()]), access);
    if (reply.status !== Status.ok) {
      return null;
    }
    const { session, texts } = sessionIn(reply);
    this.#baselines.set(session, texts);
    return session;
  }

  /** Makes express-session's session of what `get` has returned. */
  override createSession(req: Parameters<Store["createSession"]>[0], data: SessionData) {
    const texts = this.#baselines.get(data);
    const session = super.createSession(req, data);
    if (texts) {
      this.#baselines.set(session, texts);
    }
    return session;
  }

  /**
   * Saves a session: what has changed if it was loaded or saved before, else all of it. GoneError
   * says that it was destroyed meanwhile.
   */
  override set(sid: string, session: SessionData, callback?: Done): void {
    finish(this.#set(sid, session), callback);
  }

  async #set(sid: string, session: SessionData): Promise<void> {
    const ttl = this.#ttlOf(session);
    if (ttl <= 0) {
      return this.#destroy(sid);
    }
    const texts = new Map<string, Buffer>();
    for (const [name, value] of Object.entries(session)) {
      if (value !== undefined) {
        texts.set(name, Buffer.from(encode(name, value)));
      }
    }
    const baseline = this.#baselines.get(session);
    const expiry = expiryOf(ttl);
    if (baseline) {
      await this.#update(sid, [...delta(baseline, texts), expiry]);
    } else {
      await this.#create(sid, texts, ttl);
    }
    this.#baselines.set(session, texts);
  }

  async #create(sid: string, texts: Map<string, Buffer>, ttl: number): Promise<void> {
    const { handle, access } = placeOf(sid);
    const sets = delta(new Map(), texts);
    const batch = new Batch([b.create(access.secret, ttl, ttl), ...sets]);
    const reply = await this.#core.apply(handle, batch, b.AS_ADMIN);
    if (reply.status === Status.exists) {
      await this.#update(sid, [b.clear(), ...sets, expiryOf(ttl)]);
    } else {
      this.#checked(batch, reply);
    }
  }

  async #update(sid: string, ops: Part[]): Promise<void> {
    const { handle, access } = placeOf(sid);
    const batch = new Batch(ops);
    this.#checked(batch, await this.#core.apply(handle, batch, access));
  }

  #checked(batch: Batch, reply: Reply): void {
    if (reply.status === Status.absent || reply.status === Status.ended) {
      throw new GoneError("the session has ended meanwhile");
    }
    checked(batch, reply, this.#core.settings);
  }

  /** Has the session's time begin anew, and saves its cookie. One that is gone stays so. */
  override touch(sid: string, session: SessionData, callback?: Done): void {
    finish(this.#touch(sid, session), callback);
  }

  async #touch(sid: string, session: SessionData): Promise<void> {
    const cookie = b.set("cookie", encode("cookie", session.cookie));
    try {
      await this.#update(sid, [cookie, expiryOf(Math.max(1, this.#ttlOf(session)))]);
    } catch (error) {
      if (!(error instanceof GoneError)) {
        throw error;
      }
    }
  }

  /** Destroys a session. What is in flight with it cannot bring it back. */
  override destroy(sid: string, callback?: Done): void {
    finish(this.#destroy(sid), callback);
  }

  async #destroy(sid: string): Promise<void> {
    await this.#core.users.end(placeOf(sid).handle, Reason.logout);
  }

  /** Gets all sessions of express-session. It scans, which an agent does not permit. */
  override all(callback: Done<SessionData[]>): void {
    finish(this.#all(), callback);
  }

  async #all(): Promise<SessionData[]> {
    const sessions: SessionData[] = [];
    for await (const { session } of this.#scan()) {
      sessions.push(session);
    }
    return sessions;
  }

  /** Counts the sessions of express-session. It scans, which an agent does not permit. */
  override length(callback: Done<number>): void {
    finish(
      this.#all().then((sessions) => sessions.length),
      callback,
    );
  }

  /** Destroys all sessions of express-session. It scans, which an agent does not permit. */
  override clear(callback?: Done): void {
    finish(this.#clear(), callback);
  }

  async #clear(): Promise<void> {
    for await (const { handle } of this.#scan()) {
      await this.#core.users.end(handle, Reason.revoked);
    }
  }

  /** Yields the live sessions with a member `cookie`, which other apps' sessions have not. */
  async *#scan(): AsyncGenerator<{ handle: Buffer; session: SessionData }> {
    const { store } = this.#core;
    const pattern = `${store.prefix.replace(/[*?[\]\\]/g, "\\$&")}{*}`;
    const seen = new Set<string>(); // a scan may show a key twice
    let cursor = "0";
    do {
      const command = ["SCAN", cursor, "MATCH", pattern, "COUNT", PAGE];
      const [next, keys] = (await store.call({ writes: false, command })) as [Buffer, Buffer[]];
      cursor = next.toString();
      for (const key of keys.map(String).filter((each) => !seen.has(each))) {
        seen.add(key);
        const handle = Buffer.from(key.slice(store.prefix.length + 1, -1), "hex");
        const reply = await this.#core.apply(handle, new Batch([b.getAll()]), b.AS_ADMIN);
        if (reply.status === Status.ok && reply.fields.has("cookie")) {
          yield { handle, session: sessionIn(reply).session };
        }
      }
    } while (cursor !== "0");
  }

  /** Stops watching the store. The manager stays open. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#watch);
    this.#core.store.transport.onLost = () => {};
  }

  /** Finds out whether the store can be reached, and tries again while it cannot. */
  async #check(): Promise<void> {
    clearTimeout(this.#watch);
    let connected = true;
    try {
      await this.#core.store.call({ writes: false, command: ["PING"] });
    } catch {
      connected = false;
    }
    if (this.#isClosed) {
      return;
    }
    if (connected !== this.#connected) {
      this.#connected = connected;
      this.emit(connected ? "connect" : "disconnect");
    }
    if (!connected) {
      this.#watch = setTimeout(() => void this.#check(), RETRY).unref();
    }
  }

  /** Returns how long a session lasts, in ms. */
  #ttlOf({ cookie }: SessionData): number {
    const end = cookie?.expires;
    const left = end ? new Date(end).getTime() - Date.now() : this.#ttl;
    return Math.min(left, MAX_TIMEOUT);
  }
}

/** Returns where a session lies and what opens it. Neither tells the id, which stays secret. */
function placeOf(sid: string): { handle: Buffer; access: b.Access } {
  const hash = createHash("sha256").update("pazzo express-session 1").update(sid).digest();
  return {
    handle: hash.subarray(0, 16),
    access: { mode: Mode.open, generation: 1, secret: hash.subarray(16) },
  };
}

const expiryOf = (ttl: number): Part => b.setExpiry(ttl, ttl, false);

/** Returns what makes one state of a session of another. */
function delta(before: ReadonlyMap<string, Buffer>, after: ReadonlyMap<string, Buffer>): Part[] {
  const removed = [...before.keys()].filter((name) => !after.has(name)).map(b.remove);
  const set = [...after].filter(([name, text]) => !before.get(name)?.equals(text));
  return [...removed, ...set.map(([name, text]) => b.set(name, text.toString()))];
}

/** Returns the session in a reply, and its texts as this encoder writes them. */
function sessionIn(reply: Reply): { session: SessionData; texts: ReadonlyMap<string, Buffer> } {
  const session: Fields = { cookie: { originalMaxAge: null }, ...new Data(reply.fields).fields };
  const texts = Object.entries(session).map(
    ([name, value]) => [name, Buffer.from(encode(name, value))] as const,
  );
  return { session: session as unknown as SessionData, texts: new Map(texts) };
}

function finish<T>(promise: Promise<T>, callback: Done<T> | undefined): void {
  // Outside of the promise, so that what the callback throws is not swallowed.
  promise.then(
    (result) => queueMicrotask(() => callback?.(null, result)),
    (error) => queueMicrotask(() => (callback ? callback(error) : warn(String(error)))),
  );
}
