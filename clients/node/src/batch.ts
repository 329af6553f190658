/**
 * Batches: what one call asks of one session, all of it or nothing.
 *
 * What the operations do is written in apply.lua; here they are only put together, and refused if
 * they would be refused by every store. Durations are in milliseconds.
 */

import { BatchError, FieldNameError, OutOfRangeError, TooLargeError } from "./errors";
import type { Token } from "./token";

export const MAX_NAME = 256;
export const MAX_TIMEOUT = 10 * 366 * 24 * 3600 * 1000;
export const MAX_SESSIONS = 10_000;
const MAX_USER = 1024;
const MAX_DEVICE = 1024;

/** Kinds of operations. */
export const Kind = {
  get: 0,
  getAll: 1,
  set: 2,
  setIfAbsent: 3,
  delete: 4,
  pop: 5,
  add: 6,
  append: 7,
  drain: 8,
  clear: 9,
  getIdentity: 10,
  touch: 11,
  rotate: 12,
  renew: 13,
  authenticate: 14,
  setExpiry: 15,
  describe: 16,
  create: 17,
  destroy: 18,
} as const;

/** Kinds of conditions. */
export const If = { fieldIs: 0, fieldAbsent: 1, revisionIs: 2, userIsOrNone: 3 } as const;

/** Why a session was destroyed. */
export const Reason = { logout: 0, replaced: 1, revoked: 2, evicted: 3 } as const;

/** How a batch is let in. */
export const Mode = { admin: 0, open: 1, held: 2 } as const;

const READS = new Set<number>([Kind.get, Kind.getAll, Kind.getIdentity]);
const ONCE = new Set<number>([
  Kind.getAll,
  Kind.clear,
  Kind.getIdentity,
  Kind.touch,
  Kind.setExpiry,
  Kind.describe,
]);
const RENEWALS = new Set<number>([Kind.rotate, Kind.renew, Kind.authenticate]);
const KEEPS = new Set<number>([
  Kind.set,
  Kind.setIfAbsent,
  Kind.add,
  Kind.append,
  Kind.setExpiry,
  Kind.describe,
]);

/** Bounds of a session, in bytes but for `fields`, which counts. */
export interface Limits {
  readonly name: number;
  readonly value: number;
  readonly fields: number;
  readonly size: number;
}

export const USUAL_LIMITS: Limits = {
  name: MAX_NAME,
  value: 256 * 1024,
  fields: 1024,
  size: 1024 * 1024,
};

/** Whom a batch is let in as. */
export interface Access {
  readonly mode: number;
  readonly generation: number;
  readonly secret: Buffer;
}

export const AS_ADMIN: Access = { mode: Mode.admin, generation: 0, secret: Buffer.alloc(16) };

/** The access of a token that has not opened its session yet. */
export const opening = ({ generation, secret }: Token): Access => ({
  mode: Mode.open,
  generation,
  secret,
});

/** The access of a token that has. */
export const held = ({ generation, secret }: Token): Access => ({
  mode: Mode.held,
  generation,
  secret,
});

/** An operation or a condition: its kind, the field's name and the packed operand, if any. */
export interface Part {
  readonly kind: number;
  readonly name?: string;
  /** Texts stay texts: node-redis sends those of a command in one piece. */
  readonly operand?: Buffer | string;
}

/** Operations, and the conditions under which they are done. */
export class Batch {
  constructor(
    readonly ops: readonly Part[],
    readonly conditions: readonly Part[] = [],
  ) {}

  /** Whether the batch can be answered by a plain command. */
  get readsOnly(): boolean {
    return this.conditions.length === 0 && this.ops.every((op) => READS.has(op.kind));
  }

  /** Whether the batch leaves something in a new session. */
  get keepsSomething(): boolean {
    return this.ops.some((op) => KEEPS.has(op.kind));
  }

  /** Throws FieldNameError, TooLargeError or BatchError for what must not be sent. */
  check(access: Access, limits: Limits): void {
    for (const { kind, name } of this.conditions) {
      if (kind <= If.fieldAbsent) {
        checkName(name ?? "", limits);
      }
    }
    const seen = new Set<string | number>();
    for (const op of this.ops) {
      this.#checkOp(op, access, limits);
      const subject = subjectOf(op);
      if (subject !== undefined && seen.has(subject)) {
        throw new BatchError(`${JSON.stringify(subject)} is the subject of two operations`);
      }
      seen.add(subject ?? -1);
    }
  }

  #checkOp({ kind, name, operand }: Part, access: Access, limits: Limits): void {
    if (name !== undefined) {
      checkName(name, limits);
      const size = operand === undefined ? 0 : Buffer.byteLength(operand);
      if (kind !== Kind.add && size > limits.value) {
        throw new TooLargeError(
          `the field ${JSON.stringify(name)} has ${size} bytes, over ${limits.value}`,
        );
      }
    }
    const first = this.ops[0]?.kind === Kind.create && this.conditions.length === 0;
    if (kind === Kind.create && (!first || access.mode !== Mode.admin)) {
      throw new BatchError("create comes first, by admin, and under no condition");
    }
    if (kind === Kind.destroy && this.ops.length > 1) {
      throw new BatchError("destroy goes alone");
    }
  }
}

/** Returns what only one operation of a batch may be about, or undefined. */
function subjectOf({ kind, name }: Part): string | number | undefined {
  if (name !== undefined) {
    return name;
  }
  return RENEWALS.has(kind) ? Kind.renew : ONCE.has(kind) ? kind : undefined;
}

/** Throws FieldNameError or TooLargeError unless a name can be a field's. */
export function checkName(name: string, limits: Limits): void {
  if (typeof name !== "string" || name === "" || name.startsWith("\0") || !name.isWellFormed()) {
    throw new FieldNameError(
      `${JSON.stringify(name)} is no name of a field: 1 to ${limits.name} bytes of valid Unicode ` +
        "without a leading NUL are allowed",
    );
  }
  const size = Buffer.byteLength(name);
  if (size > limits.name) {
    throw new TooLargeError(`a field's name has ${size} bytes, over ${limits.name}`);
  }
}

/** Packs an unsigned number into that many bytes. */
export function packed(number: number, bytes: number): Buffer {
  const out = Buffer.alloc(bytes);
  out.writeUIntBE(number, 0, bytes);
  return out;
}

/** Packs a duration, or throws BatchError. */
export function packDuration(what: string, ms: number, least = 1): Buffer {
  if (!Number.isInteger(ms) || ms < least || ms > MAX_TIMEOUT) {
    throw new BatchError(`${what} is ${ms} ms: ${least} to ${MAX_TIMEOUT} is allowed`);
  }
  return packed(ms, 6);
}

function packExpiry(idle: number, absolute: number, browserClose: boolean): Buffer {
  const end = packDuration("absolute", absolute);
  const pause = packDuration("idle", idle);
  return Buffer.concat([idle > absolute ? end : pause, end, packed(Number(browserClose), 1)]);
}

/** Answers the field's text. */
export const get = (name: string): Part => ({ kind: Kind.get, name });

/** Answers all fields. */
export const getAll = (): Part => ({ kind: Kind.getAll });

/** Gives the field a text. */
export const set = (name: string, text: string): Part => valued(Kind.set, name, text);

/** Gives the field a text unless it is there; answers the one that was. */
export const setIfAbsent = (name: string, text: string): Part =>
  valued(Kind.setIfAbsent, name, text);

/** Removes the field; answers whether it was there. */
export const remove = (name: string): Part => ({ kind: Kind.delete, name });

/** Removes the field and answers its text. */
export const pop = (name: string): Part => ({ kind: Kind.pop, name });

/** Adds to the integer in the field, or to 0, and answers the sum. */
export function add(name: string, number: number | bigint): Part {
  const safe = Number.isSafeInteger(Number(number)) && BigInt(Number(number)) === BigInt(number);
  if (!safe) {
    throw new OutOfRangeError(`${number} is not an integer within ±(2^53−1)`);
  }
  return valued(Kind.add, name, String(BigInt(number)));
}

/** Adds a text to the array in the field, or to `[]`. */
export const append = (name: string, text: string): Part => valued(Kind.append, name, text);

/** Removes the field if it is an array, and answers it. */
export const drain = (name: string): Part => ({ kind: Kind.drain, name });

/** Removes all fields; goes before all other writes. */
export const clear = (): Part => ({ kind: Kind.clear });

/** Answers who is logged in, and the device. */
export const getIdentity = (): Part => ({ kind: Kind.getIdentity });

/** Records activity if that is due; answers whether it was, and the user. */
export const touch = (): Part => ({ kind: Kind.touch });

/** Begins a generation if the current one is that; answers whether it did. */
export const rotate = (generation: number, secret: Buffer, grace: number): Part => ({
  kind: Kind.rotate,
  operand: Buffer.concat([packed(generation, 4), secret, packDuration("grace", grace, 0)]),
});

/** Begins a generation and ends the older ones. */
export const renew = (secret: Buffer): Part => ({ kind: Kind.renew, operand: secret });

/** Renews, and records the user; *absolute* is the time left from now, or 0. */
export const authenticate = (user: string, secret: Buffer, absolute: number): Part => ({
  kind: Kind.authenticate,
  operand: Buffer.concat([secret, packDuration("absolute", absolute, 0), packUser(user)]),
});

/** Gives the session timeouts of its own, from now. */
export const setExpiry = (idle: number, absolute: number, browserClose: boolean): Part => ({
  kind: Kind.setExpiry,
  operand: packExpiry(idle, absolute, browserClose),
});

/** Records the device; an empty one removes it. */
export function describe(device: string): Part {
  const operand = Buffer.from(device);
  if (operand.length > MAX_DEVICE) {
    throw new TooLargeError(`the device has ${operand.length} bytes, over ${MAX_DEVICE}`);
  }
  return { kind: Kind.describe, operand };
}

/** Makes the session, at generation 1. */
export const create = (
  secret: Buffer,
  idle: number,
  absolute: number,
  browserClose = false,
): Part => ({
  kind: Kind.create,
  operand: Buffer.concat([secret, packExpiry(idle, absolute, browserClose)]),
});

/** Leaves a tombstone for *keep*; answers whether there was a session, and the user. */
export const destroy = (reason: number, keep: number): Part => ({
  kind: Kind.destroy,
  operand: Buffer.concat([packed(reason, 1), packDuration("keep", keep)]),
});

/** Holds if the field has this very text, or if it is absent for undefined. */
export const fieldIs = (name: string, text: Buffer | undefined): Part =>
  text ? { kind: If.fieldIs, name, operand: text } : { kind: If.fieldAbsent, name };

/** Holds if the session has not changed since; 0 means that there is none. */
export const revisionIs = (revision: number): Part => ({
  kind: If.revisionIs,
  operand: packed(revision, 6),
});

/** Holds unless somebody else is logged in. */
export const userIsOrNone = (user: string): Part => ({
  kind: If.userIsOrNone,
  operand: Buffer.from(user),
});

/** Returns a user's UTF-8, or throws BatchError or TooLargeError. */
export function packUser(user: string): Buffer {
  if (typeof user !== "string" || user === "" || !user.isWellFormed()) {
    throw new BatchError("the user must be a text that is not empty, of valid Unicode");
  }
  const out = Buffer.from(user);
  if (out.length > MAX_USER) {
    throw new TooLargeError(`the user has ${out.length} bytes, over ${MAX_USER}`);
  }
  return out;
}

function valued(kind: number, name: string, text: string): Part {
  return { kind, name, operand: text };
}
