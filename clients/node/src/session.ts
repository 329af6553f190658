/**
 * The session as a request sees it.
 *
 * Nothing is loaded before the first use, and every write takes effect when its promise resolves.
 * The session is made by the first write; a request that only reads makes none.
 */

import { inspect, isDeepStrictEqual } from "node:util";
import * as b from "./batch";
import { Batch, MAX_TIMEOUT, type Part, Reason } from "./batch";
import { type Change, Data, type Fields, spliced } from "./data";
import {
  ConflictError,
  InTransactionError,
  OptionsError,
  PazzoError,
  ResponseStartedError,
  StaleFieldError,
} from "./errors";
import { type Device, deviceText, type Info, infoOf } from "./info";
import { Lock } from "./lock";
import { login } from "./login";
import type { Core } from "./manager";
import type { RequestState } from "./state";
import { newSecret } from "./token";
import { Transaction } from "./transaction";
import { compact, decode, encode } from "./values";
import type { Reply } from "./wire";

// biome-ignore lint/suspicious/noExplicitAny: the app knows what its fields hold
type Any = any;

/** How long one session lasts, in seconds from now; what is left out is that of the options. */
export interface Expiry {
  readonly idle?: number;
  readonly absolute?: number;
  /** Has the cookie end with the browser. It does not shorten the timeouts. */
  readonly untilBrowserClose?: boolean;
}

/**
 * One visitor's session in one request.
 *
 * Reads find nothing in a session that has ended or was superseded; writes then reject with
 * GoneError or SupersededError. A store that fails rejects with a StoreError. Calls may overlap.
 */
export class Session {
  readonly #state: RequestState;
  readonly #core: Core;
  readonly #saving = new Lock();
  #data: Data | undefined;
  /** The handle of the session that the data were loaded from, if there was one. */
  #source: string | undefined;
  #inTransaction = false;

  /** @internal */
  constructor(state: RequestState) {
    this.#state = state;
    this.#core = state.core;
    if (state.visit.candidates.length === 0) {
      this.#data = new Data();
    }
  }

  // Reads.

  /** Returns a field's value, or undefined. */
  async get<T = Any>(name: string): Promise<T | undefined> {
    const text = await this.#text(name);
    return text && (decode(name, text) as T);
  }

  /** Returns a field's JSON text as it was written, or undefined. */
  async text(name: string): Promise<string | undefined> {
    return (await this.#text(name))?.toString();
  }

  /** Whether a field is there. */
  async has(name: string): Promise<boolean> {
    return (await this.#text(name)) !== undefined;
  }

  /** Returns all fields, as they are at one point in time. */
  async getAll(): Promise<Record<string, Any>> {
    const texts = await this.#texts();
    return Object.fromEntries([...texts].map(([name, text]) => [name, decode(name, text)]));
  }

  /** Returns the JSON texts of all fields as they were written, at one point in time. */
  async texts(): Promise<Record<string, string>> {
    const texts = await this.#texts();
    return Object.fromEntries([...texts].map(([name, text]) => [name, text.toString()]));
  }

  async #text(name: string): Promise<Buffer | undefined> {
    b.checkName(name, this.#core.settings.limits);
    if (this.#core.settings.reads === "request") {
      return (await this.#loaded()).texts.get(name);
    }
    return (await this.#state.do(new Batch([b.get(name)]))).text();
  }

  async #texts(): Promise<ReadonlyMap<string, Buffer>> {
    return this.#core.settings.reads === "request"
      ? (await this.#loaded()).texts
      : (await this.#state.do(new Batch([b.getAll()]))).fields;
  }

  // Writes.

  /** Gives a field a value. EncodeError says that it has no JSON form; nothing is sent then. */
  async set(name: string, value: unknown): Promise<void> {
    const text = encode(name, value);
    await this.#write([b.set(name, text)]);
    this.#wrote(name, Buffer.from(text));
  }

  /** Gives a field a JSON text, which is stored as it is but for white space. */
  async setText(name: string, json: string): Promise<void> {
    const text = compact(name, json);
    await this.#write([b.set(name, text)]);
    this.#wrote(name, Buffer.from(text));
  }

  /** Gives several fields their values, all at once. */
  async assign(fields: Record<string, unknown>): Promise<void> {
    const texts = Object.entries(fields).map(
      ([name, value]) => [name, encode(name, value)] as const,
    );
    if (texts.length) {
      await this.#write(texts.map(([name, text]) => b.set(name, text)));
    }
    for (const [name, text] of texts) {
      this.#wrote(name, Buffer.from(text));
    }
  }

  /** Gives a field a value unless it has one; returns the one it has, and if it is new. */
  async setIfAbsent<T = Any>(name: string, value: T): Promise<{ value: T; isNew: boolean }> {
    const text = encode(name, value);
    const before = (await this.#write([b.setIfAbsent(name, text)])).text();
    this.#wrote(name, before ?? Buffer.from(text));
    return before ? { value: decode(name, before) as T, isNew: false } : { value, isNew: true };
  }

  /** Gives a field a value if it has an expected one (undefined: none); tells whether it did. */
  async compareAndSet(name: string, expected: unknown, value: unknown): Promise<boolean> {
    const text = encode(name, value);
    const now = (await this.#state.do(new Batch([b.get(name)]))).text();
    // What the app expects is compared as it would be read.
    const wanted =
      expected === undefined ? undefined : decode(name, Buffer.from(encode(name, expected)));
    if (!isDeepStrictEqual(now && decode(name, now), wanted)) {
      return false;
    }
    try {
      await this.#write([b.set(name, text)], [b.fieldIs(name, now)]);
    } catch (error) {
      if (error instanceof ConflictError) {
        return false;
      }
      throw error;
    }
    this.#wrote(name, Buffer.from(text));
    return true;
  }

  /** Removes fields, all at once; tells whether one was there. */
  async delete(...names: string[]): Promise<boolean> {
    const unique = [...new Set(names)];
    if (unique.length === 0) {
      return false;
    }
    const reply = await this.#write(unique.map(b.remove));
    for (const name of unique) {
      this.#wrote(name, undefined);
    }
    return reply.values.some((value) => value.found);
  }

  /** Removes a field and returns its value: of several callers, one finds it. */
  async pop<T = Any>(name: string): Promise<T | undefined> {
    const before = (await this.#write([b.pop(name)])).text();
    this.#wrote(name, undefined);
    return before && (decode(name, before) as T);
  }

  /**
   * Adds to an integer (0 if there is no such field) and returns the sum. No addition is lost, and
   * each costs one round trip. NotIntegerError says that the field holds something else,
   * OutOfRangeError that operand or sum is beyond ±(2^53−1).
   */
  async add(name: string, number: number | bigint = 1): Promise<number> {
    const op = b.add(name, number);
    await this.#saveOne(name);
    const sum = (await this.#write([op])).value().text;
    this.#wrote(name, sum);
    return Number(sum.toString());
  }

  /** Adds a value at the end of a list. NotListError says that the field holds something else. */
  async append(name: string, value: unknown): Promise<void> {
    const text = encode(name, value);
    await this.#saveOne(name);
    await this.#write([b.append(name, text)]);
    if (this.#data) {
      const list = spliced(this.#data.texts.get(name), text);
      this.#wrote(name, list ?? (await this.#state.do(new Batch([b.get(name)]))).text());
    }
  }

  /** Empties a list and returns it: each value goes to one caller. */
  async drain<T = Any>(name: string): Promise<T[]> {
    await this.#saveOne(name);
    const before = (await this.#write([b.drain(name)])).text();
    this.#wrote(name, undefined);
    return before ? (decode(name, before) as T[]) : [];
  }

  /** Removes all fields. The session itself stays, and so does who is logged in. */
  async clear(): Promise<void> {
    await this.#write([b.clear()]);
    this.#data &&= new Data();
  }

  /**
   * Gives a field the value that *change* makes of its present one (undefined if there is none),
   * and returns it. *change* may be called several times and must have no other effect.
   * ConflictError is thrown after 64 attempts in vain.
   */
  async update<T = Any>(
    name: string,
    change: (value: T | undefined) => T | Promise<T>,
  ): Promise<T> {
    await this.#saveOne(name);
    return this.#core.queue.retry(this.#state.current.handle, name, async () => {
      const before = (await this.#state.do(new Batch([b.get(name)]))).text();
      const value = await change(before && (decode(name, before) as T));
      const text = encode(name, value);
      await this.#write([b.set(name, text)], [b.fieldIs(name, before)]);
      this.#wrote(name, Buffer.from(text));
      return value;
    });
  }

  /**
   * Runs *change* in a transaction until it does not collide; returns its result. It may be called
   * several times and must have no other effect; only the transaction is to be used in it.
   * ConflictError is thrown after 64 attempts in vain.
   */
  async atomically<T>(change: (tx: Transaction) => T | Promise<T>): Promise<T> {
    await this.save();
    return this.#core.queue.retry(this.#state.current.handle, "", async () => {
      const tx = new Transaction(await this.#state.do(new Batch([b.getAll()])));
      this.#inTransaction = true;
      let result: T;
      try {
        result = await change(tx);
      } finally {
        this.#inTransaction = false;
      }
      const ops = tx.ops();
      if (ops.length) {
        await this.#write(ops, tx.conditions());
        await this.#reloadIfLoaded();
      }
      return result;
    });
  }

  #write(ops: Part[], conditions?: Part[]): Promise<Reply> {
    return this.#state.do(new Batch(ops, conditions));
  }

  #wrote(name: string, text: Buffer | undefined): void {
    this.#data?.wrote(name, text);
  }

  // The copy that an app changes.

  /**
   * The fields as a plain object, once `load` has read them, which middleware does. Fields that
   * are changed in it are written by `save`, which middleware calls before the headers go out;
   * each only if it is still what was read (`Options.staleFields`).
   */
  get data(): Fields {
    if (!this.#data) {
      throw new PazzoError("the session's data are not loaded: await session.load() first");
    }
    return this.#data.fields;
  }

  set data(fields: Fields) {
    const { data } = this;
    for (const name of Object.keys(data)) {
      delete data[name];
    }
    Object.assign(data, fields);
  }

  /** Whether `data` is there. */
  get isLoaded(): boolean {
    return this.#data !== undefined;
  }

  /** @internal Has nothing in `data`, without asking the store. */
  forgetData(): void {
    this.#data = new Data();
  }

  /** Reads all fields into `data`, from the store. What was changed there is forgotten. */
  async load(): Promise<void> {
    this.#data = new Data((await this.#state.do(new Batch([b.getAll()]))).fields);
    this.#source = this.handle;
  }

  /** Returns the data, of the session that the request has now. */
  async #loaded(): Promise<Data> {
    const isOther = this.#source !== undefined && this.#source !== this.handle;
    if (!this.#data || isOther) {
      await this.load();
    }
    return this.#data ?? new Data();
  }

  /** Whether `save` has something to write. EncodeError is thrown for what has no JSON form. */
  get isChanged(): boolean {
    return (this.#data?.changes().length ?? 0) > 0;
  }

  /**
   * Writes the fields that were changed in `data`. StaleFieldError names those that somebody else
   * has written since they were read; the others have been written.
   *
   * A user that Passport has put into the field `passport` is logged in, so that the apps in other
   * languages see who it is.
   */
  async save(): Promise<void> {
    await this.#saving.run(async () => {
      const data = this.#data;
      const changes = data?.changes() ?? [];
      if (!data || changes.length === 0) {
        return;
      }
      const user = passportUser(changes);
      if (user !== undefined) {
        await this.#login(user);
      }
      if (this.#data === data) {
        await this.#saveChanges(data, changes);
      } else {
        // Another user's session has ended; in the new one there is nothing yet.
        const empty = this.#data ?? new Data();
        await this.#saveChanges(empty, changes.map(anew));
      }
    });
  }

  async #saveChanges(data: Data, changes: readonly Change[]): Promise<void> {
    const stale = await this.#saveAll(data, changes);
    if (stale.length) {
      throw new StaleFieldError(stale);
    }
  }

  /** Writes changes at once, or if that collides each on its own; returns which are stale. */
  async #saveAll(data: Data, changes: readonly Change[]): Promise<string[]> {
    const overwrite = this.#core.settings.staleFields === "overwrite";
    const ops = changes.map(({ name, text }) =>
      text === undefined ? b.remove(name) : b.set(name, text),
    );
    const conditions = changes.map(({ name, before }) => b.fieldIs(name, before));
    try {
      await this.#write(ops, overwrite ? [] : conditions);
    } catch (error) {
      if (!(error instanceof ConflictError)) {
        throw error;
      }
      if (changes.length > 1) {
        const stale: string[] = [];
        for (const change of changes) {
          stale.push(...(await this.#saveAll(data, [change])));
        }
        return stale;
      }
      data.saved(changes); // it is told once
      return changes.map(({ name }) => name);
    }
    data.saved(changes);
    return [];
  }

  /** Writes one field if it was changed in `data`, before an operation on it. */
  async #saveOne(name: string): Promise<void> {
    if (!this.#data?.change(name)) {
      return;
    }
    await this.#saving.run(async () => {
      const change = this.#data?.change(name);
      if (change && this.#data) {
        await this.#saveChanges(this.#data, [change]);
      }
    });
  }

  async #reloadIfLoaded(): Promise<void> {
    if (this.#data) {
      await this.load();
    }
  }

  // The session as a whole.

  /**
   * Logs a user in, when the app has verified who it is, a second time as well. The token is
   * renewed and the timeouts begin anew. The fields stay, unless another user was logged in: then
   * that session is destroyed and an empty one made.
   *
   * It rejects with BlockedError, TooManySessionsError, MayEvictError, GoneError (the login was
   * revoked while under way) and ResponseStartedError.
   */
  async authenticate(user: string): Promise<void> {
    this.#mayRenew();
    await this.#login(user);
  }

  async #login(user: string): Promise<void> {
    this.#mayRenew();
    const { live, current } = this.#state;
    await login(this.#state, user);
    if (live && !this.#state.current.handle.equals(current.handle)) {
      this.#data &&= new Data();
    }
  }

  /**
   * Gives the session a new token and ends the older ones at once. Call it at any change of
   * privilege that is not a login, such as a change of password. Without a session it does nothing.
   * ResponseStartedError says that the cookie can no longer be set; nothing is changed then.
   */
  async renew(): Promise<void> {
    this.#mayRenew();
    await this.#state.opening.run(async () => {
      const reply = await this.#state.doAlone(new Batch([b.renew(newSecret())]));
      if (reply.meta) {
        this.#state.renewed(reply);
      }
    });
  }

  /**
   * Ends the session for good; tells whether there was one. Whatever is in flight with it gets
   * GoneError. The same request may write again, which makes a new session.
   */
  async destroy(): Promise<boolean> {
    const ended = await this.destroyKeepingData();
    this.forgetData();
    return ended;
  }

  /** Ends the session, whose fields stay in the app's hands. */
  protected destroyKeepingData(): Promise<boolean> {
    this.#mayChange();
    return this.#state.opening.run(() => this.#state.destroy(Reason.logout));
  }

  /**
   * Chooses how long this session lasts, as for “remember me”. The choice stays over a later
   * login. A session is made if there is none. OptionsError is thrown for less than 1 s, over 10
   * years, or an idle timeout longer than the absolute one.
   */
  async setExpiry({ idle, absolute, untilBrowserClose = false }: Expiry): Promise<void> {
    this.#mayChange();
    const usual = this.#core.settings.timeouts;
    const end = Math.round((absolute ?? usual.absolute) * 1000);
    const pause = Math.round((idle ?? Math.min(usual.idle, end / 1000)) * 1000);
    if (!(pause >= 1000 && end <= MAX_TIMEOUT && pause <= end)) {
      throw new OptionsError(
        `expiry of ${pause} ms idle and ${end} ms absolute: from 1000 to ${MAX_TIMEOUT} ms is ` +
          "allowed, idle not longer than absolute",
      );
    }
    const op = b.setExpiry(pause, end, untilBrowserClose);
    const reply = await this.#write([op, b.getIdentity()]);
    this.#state.issue(reply, false);
    if (reply.user) {
      const left = reply.liveMeta().deadline - reply.now;
      await this.#core.users.refresh(reply.user, this.#state.current.handle, left);
    }
  }

  /** Records the browser's device, for the user's list of sessions. At most 1 KiB of JSON. */
  async setDevice(device: Device): Promise<void> {
    await this.#write([b.describe(deviceText(device))]);
  }

  /** Asks the store about the session; undefined if there is none. */
  async info(): Promise<Info | undefined> {
    const reply = await this.#state.do(new Batch([b.getIdentity()]));
    return reply.meta && infoOf(this.#state.current.handle, reply);
  }

  /** Returns who is logged in, by the store; "" if nobody is. */
  async authenticatedUser(): Promise<string> {
    return (await this.info())?.user ?? "";
  }

  /**
   * The session's public name, for logs and revocation; undefined before the request has used it,
   * or if there is none.
   */
  get handle(): string | undefined {
    return this.#state.live ? this.#state.current.handle.toString("hex") : undefined;
  }

  /** Whether this request has made the session. */
  get isNew(): boolean {
    return this.#state.isNew;
  }

  /**
   * The text that opens the session; "" if there is none. It is a secret: hand it to the client
   * that the session belongs to and to nobody else.
   */
  get sealedToken(): string {
    const { out, first } = this.#state;
    const token = out.offer?.token ?? first;
    return out.forget || !token ? "" : this.#core.keys.seal(token);
  }

  #mayChange(): void {
    if (this.#inTransaction) {
      throw new InTransactionError("not possible inside atomically()");
    }
  }

  #mayRenew(): void {
    this.#mayChange();
    if (this.#state.out.started) {
      throw new ResponseStartedError("the cookie cannot be set: the response has started");
    }
  }

  /** Shows the handle only. */
  [inspect.custom](): string {
    return `Session(${this.handle ?? ""})`;
  }
}

const anew = (change: Change): Change => ({ ...change, before: undefined });

/** Returns the user that Passport has newly put into its field, as text, or undefined. */
function passportUser(changes: readonly Change[]): string | undefined {
  const change = changes.find(({ name }) => name === "passport");
  const user = userIn(change?.text);
  return user === undefined || user === userIn(change?.before?.toString()) ? undefined : user;
}

function userIn(text: string | undefined): string | undefined {
  const passport = text === undefined ? undefined : decode("passport", Buffer.from(text));
  const user = (passport as { user?: unknown } | undefined | null)?.user;
  const named = typeof user === "string" || typeof user === "number" || typeof user === "bigint";
  return named && user !== "" ? String(user) : undefined;
}
