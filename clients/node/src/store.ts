/** The store: applies batches and index steps, and says what a failure proves. */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { ErrorReply } from "@redis/client";
import { type Access, type Batch, Kind, type Limits, Mode } from "./batch";
import {
  CorruptError,
  FullError,
  OutcomeUnknownError,
  type StoreError,
  UnavailableError,
} from "./errors";
import { decodeStep, digest, encodeStep, type IndexReply, type Step, StepKind } from "./steps";
import { type Command, LostError, Transport, UnsentError, why } from "./transport";
import type { Config } from "./url";
import { decode, encode, Meta, Reply, ReplyError, textOf } from "./wire";

/** The wait between attempts that a server refused, in ms, without jitter. */
const FIRST_WAIT = 5;
const LAST_WAIT = 50;
/**
 * How often reads make sure that they talk to a primary, in ms. A server that has been demoted
 * under its name goes on answering them.
 */
const PRIMARY_CHECK = 1000;
/** How near to a session's end, in ms, our idea of the server's clock does not do. */
const CLOCK_MARGIN = 40;
/** Replies that say that a command was not executed, and may be sooner or later. */
const RETRYABLE = new Set(["TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "LOADING", "READONLY"]);

/** A script of the protocol, and its SHA-1, which is the protocol's version. */
export class Script {
  readonly source: Buffer;
  readonly sha: string;

  constructor(file: string) {
    this.source = readFileSync(join(__dirname, "..", "lua", file));
    this.sha = createHash("sha1").update(this.source).digest("hex");
  }
}

export const APPLY = new Script("apply.lua");
export const INDEX = new Script("index.lua");

/** A command in the forms that it takes until it is answered. */
interface Call {
  readonly writes: boolean;
  readonly command: Command;
  /** What to send in its place if the server does not know the script. */
  readonly unknown?: () => Command;
}

/** Redis, Valkey or an agent. */
export class Store {
  readonly prefix: string;
  readonly transport: Transport;
  readonly #timeout: number;
  readonly #none: Command;
  /** The server's clock minus ours, ms; undefined before a script has told it. */
  #offset: number | undefined;
  #primaryUntil = 0;

  constructor(config: Config) {
    this.prefix = config.prefix;
    this.transport = new Transport(config);
    this.#timeout = config.timeout;
    this.#none = ["DEL", `${config.prefix}none`];
  }

  /** Applies a batch to the session of that handle. */
  async apply(handle: Buffer, batch: Batch, access: Access, limits: Limits): Promise<Reply> {
    batch.check(access, limits);
    const key = `${this.prefix}{${handle.toString("hex")}}`;
    const reads = batch.readsOnly;
    if (reads && access.mode !== Mode.admin && this.#offset !== undefined) {
      const reply = await this.#read(key, batch, access);
      if (reply) {
        return reply;
      }
    }
    const call = scriptCall(APPLY, key, encode(handle, batch, access, limits), !reads);
    const reply = await this.#trusted(call, (answer) => decode(answer, handle, batch));
    this.#learn(reply.now);
    return reply;
  }

  /** Applies a step to the index of a user's sessions. */
  async applyStep(user: string, step: Step): Promise<IndexReply> {
    const key = `${this.prefix}u:${digest(user).toString("hex")}`;
    const call = scriptCall(INDEX, key, encodeStep(user, step), step.kind !== StepKind.list);
    const reply = await this.#trusted(call, (answer) => decodeStep(answer, user));
    this.#learn(reply.now);
    return reply;
  }

  /** Whether the server may drop sessions and lists on its own, or does not tell. */
  async mayEvict(): Promise<boolean> {
    for (const command of [
      ["CONFIG", "GET", "maxmemory-policy"],
      ["INFO", "memory"],
    ]) {
      try {
        const answer = await this.call({ writes: false, command });
        if (String(answer).includes("noeviction")) {
          return false;
        }
      } catch (error) {
        if (!(error instanceof UnavailableError && error.cause instanceof ErrorReply)) {
          throw error;
        }
        // We may not know by this command.
      }
    }
    return true;
  }

  /** Answers a batch by a plain command; undefined if that does not settle it. */
  #read(key: string, batch: Batch, access: Access): Promise<Reply | undefined> {
    if (batch.ops.some((op) => op.kind === Kind.getAll)) {
      const call = { writes: false, command: ["HGETALL", key] };
      return this.#trusted(call, (answer) => this.#settle(hashOf(answer), batch, access));
    }
    const names = ["\0m", ...batch.ops.flatMap((op) => op.name ?? ["\0u", "\0d"])];
    const call = { writes: false, command: ["HMGET", key, ...names] };
    return this.#trusted(call, (answer) => this.#settle(zipped(names, answer), batch, access));
  }

  #settle({ fields, own }: Hash, batch: Batch, access: Access): Reply | undefined {
    const raw = own.get("\0m");
    const now = Date.now() + (this.#offset ?? 0);
    if (!raw || !Meta.isPlain(raw)) {
      return undefined;
    }
    const meta = new Meta(raw);
    if (!meta.isOf(access) || now >= meta.expires - CLOCK_MARGIN) {
      return undefined;
    }
    const reply = new Reply(0, batch.ops.length);
    reply.meta = meta;
    reply.now = now;
    reply.revision = own.get("\0r")?.readUIntBE(0, 6) ?? 0;
    for (const [i, { kind, name }] of batch.ops.entries()) {
      if (kind === Kind.getIdentity) {
        reply.setIdentity(own.get("\0u") ?? null, own.get("\0d") ?? null);
      } else if (kind === Kind.getAll) {
        reply.fields = fields;
      } else {
        const text = fields.get(name as string);
        reply.values[i] = { found: text !== undefined, text: text ?? Buffer.alloc(0) };
      }
    }
    return reply;
  }

  #learn(now: number): void {
    this.#offset = now - Date.now();
  }

  /** Returns what an answer says. One that is to another call closes the connection. */
  async #trusted<T>(call: Call, read: (answer: unknown) => T): Promise<T> {
    const begun = performance.now();
    const first = await this.#attempt(call.command, call.writes, begun);
    const answer = first instanceof Error ? await this.#insist(call, first, begun) : first;
    try {
      return read(answer);
    } catch (error) {
      if (!(error instanceof ReplyError)) {
        throw error;
      }
      await this.transport.reset();
      throw lost(call, error);
    }
  }

  /**
   * Sends a command until it is answered. It is repeated only after a reply that proves that it
   * was not executed, and if it only reads, once after contact was lost.
   */
  call(call: Call): Promise<unknown> {
    return this.#trusted(call, (answer) => answer);
  }

  /** Is `call` after a first attempt that has failed. */
  async #insist(call: Call, failure: Error, begun: number): Promise<unknown> {
    const end = begun + this.#timeout;
    let { command } = call;
    let answer: unknown = failure;
    let lostOnce = false;
    for (let wait = FIRST_WAIT; answer instanceof Error; wait = Math.min(2 * wait, LAST_WAIT)) {
      if (codeOf(answer) === "NOSCRIPT" && call.unknown && command === call.command) {
        command = call.unknown(); // which makes it known to this server
      } else {
        await this.#mayRepeat(call, answer, lostOnce);
        lostOnce ||= answer instanceof LostError;
        if (performance.now() + wait > end) {
          const text = `the store refuses for now: ${why(answer)}`;
          throw new UnavailableError(text, { cause: answer });
        }
        await pause(wait * (0.5 + Math.random()));
      }
      answer = await this.#attempt(command, call.writes, performance.now());
    }
    return answer;
  }

  /** Throws what a failure means, unless the call may be sent again. */
  async #mayRepeat(call: Call, failure: Error, lostOnce: boolean): Promise<void> {
    if (failure instanceof UnsentError) {
      throw new UnavailableError(`cannot connect to the store: ${why(failure)}`);
    }
    if (failure instanceof LostError) {
      if (call.writes || lostOnce) {
        throw lost(call, failure);
      }
      return;
    }
    const code = codeOf(failure);
    if (!RETRYABLE.has(code)) {
      throw refused(call, code, failure);
    }
    if (code === "READONLY") {
      this.#primaryUntil = 0;
      await this.transport.reset();
    }
  }

  /** Returns an answer, an error reply or a failure. */
  #attempt(command: Command, writes: boolean, now: number): Promise<unknown> {
    return writes || now < this.#primaryUntil
      ? this.transport.send(command)
      : this.#attemptWithProof(command, now);
  }

  /** Is `#attempt` after a write, which a replica refuses. */
  async #attemptWithProof(command: Command, now: number): Promise<unknown> {
    const [proof, answer] = await this.transport.sendBoth(this.#none, command);
    if (
      proof instanceof Error &&
      (!(proof instanceof ErrorReply) || codeOf(proof) === "READONLY")
    ) {
      return proof;
    }
    if (!(answer instanceof Error) || answer instanceof ErrorReply) {
      this.#primaryUntil = now + PRIMARY_CHECK;
    }
    return answer;
  }

  /** Closes the connection. A later call makes another one. */
  async close(): Promise<void> {
    await this.transport.reset();
  }
}

/** A record's hash in Redis: the session's fields and our own, whose names begin with a NUL. */
class Hash {
  readonly fields = new Map<string, Buffer>();
  readonly own = new Map<string, Buffer>();

  put(name: string, text: Buffer): void {
    (name.charCodeAt(0) === 0 ? this.own : this.fields).set(name, text);
  }
}

function scriptCall(
  script: Script,
  key: string,
  args: readonly (string | Buffer)[],
  writes: boolean,
): Call {
  return {
    writes,
    command: ["EVALSHA", script.sha, "1", key, ...args],
    unknown: () => ["EVAL", script.source, "1", key, ...args],
  };
}

/** Reads the reply to HGETALL. */
function hashOf(answer: unknown): Hash {
  if (!Array.isArray(answer) || answer.length % 2) {
    throw new ReplyError("the reply is not a hash");
  }
  const hash = new Hash();
  for (let i = 0; i < answer.length; i += 2) {
    const name = answer[i];
    const text = answer[i + 1];
    if (!Buffer.isBuffer(name) || !Buffer.isBuffer(text)) {
      throw new ReplyError("the reply is not a hash of texts");
    }
    hash.put(textOf(name), text);
  }
  return hash;
}

function zipped(names: readonly string[], answer: unknown): Hash {
  if (!Array.isArray(answer) || answer.length !== names.length) {
    throw new ReplyError("a reply of another length");
  }
  const hash = new Hash();
  for (let i = 0; i < answer.length; i++) {
    const text = answer[i];
    if (Buffer.isBuffer(text)) {
      hash.put(names[i] as string, text);
    } else if (text !== null) {
      throw new ReplyError("the reply is not a list of texts");
    }
  }
  return hash;
}

/** Returns the first word of an error reply; "" for anything else. */
const codeOf = (answer: Error): string =>
  answer instanceof ErrorReply ? (answer.message.split(" ", 1)[0] ?? "") : "";

function lost(call: Call, error: Error): StoreError {
  return call.writes
    ? new OutcomeUnknownError(`the write may or may not have been executed: ${why(error)}`)
    : new UnavailableError(`the store did not answer: ${why(error)}`);
}

function refused(call: Call, code: string, reply: Error): StoreError {
  const text = why(reply);
  if (code === "OOM") {
    return new FullError(`the store is full: ${text}`);
  }
  if (code === "WRONGTYPE") {
    return new CorruptError("the store holds something else than a session: WRONGTYPE");
  }
  if (text.includes("script: ")) {
    return lost(call, reply); // it failed on the way
  }
  return new UnavailableError(`the store refuses: ${text}`, { cause: reply });
}
