/** Steps on the index of one user's sessions: the arguments of index.lua. */

import { createHash } from "node:crypto";
import { packDuration } from "./batch";
import { CorruptError } from "./errors";
import { LAYOUT, ReplyError } from "./wire";

/** Kinds of steps. */
export const StepKind = {
  enlist: 0,
  confirm: 1,
  refresh: 2,
  unlist: 3,
  list: 4,
  block: 5,
  unblock: 6,
} as const;

/** States of entries. */
export const EntryState = { pending: 0, active: 1, doomed: 2 } as const;

/** Statuses of a step's answer. */
export const StepStatus = {
  ok: 0,
  blocked: 1,
  full: 2,
  unverified: 3,
  missing: 4,
  doomed: 5,
} as const;

const STEP = 52;
const HEAD = 29;
const ENTRY = 29;
const CORRUPT = 255;

/** A step. Durations are in ms; what a kind does not use is left out. */
export interface Step {
  readonly kind: number;
  readonly handle?: Buffer;
  /** How many sessions the user may have. */
  readonly most?: number;
  readonly evict?: boolean;
  readonly verified?: boolean;
  readonly lifetime?: number;
  readonly duration?: number;
  /** To unlist. */
  readonly handles?: readonly Buffer[];
}

/** A listed session. Times are ms since 1970 by the store's clock. */
export interface Entry {
  readonly handle: Buffer;
  readonly state: number;
  readonly added: number;
  readonly deadline: number;
}

/** What a step was answered. `blockedUntil` is 0 if the user is not blocked. */
export interface IndexReply {
  readonly status: number;
  readonly now: number;
  readonly blockedUntil: number;
  readonly entries: readonly Entry[];
}

/** The SHA-256 of a user, which names the index's key; its first half is the tag. */
export const digest = (user: string): Buffer => createHash("sha256").update(user).digest();

/** Returns the arguments of index.lua. */
export function encodeStep(user: string, step: Step): Buffer[] {
  const head = Buffer.alloc(STEP);
  head[0] = LAYOUT;
  digest(user).copy(head, 1, 0, 16);
  head[17] = step.kind;
  step.handle?.copy(head, 18);
  head.writeUInt32BE(step.most ?? 0, 34);
  head[38] = Number(step.evict ?? false);
  head[39] = Number(step.verified ?? false);
  packDuration("lifetime", step.lifetime ?? 0, 0).copy(head, 40);
  packDuration("duration", step.duration ?? 0, 0).copy(head, 46);
  return [head, ...(step.handles ?? [])];
}

/** Reads the answer of index.lua. ReplyError is thrown unless it is to this call. */
export function decodeStep(answer: unknown, user: string): IndexReply {
  const tag = digest(user).subarray(0, 16);
  if (!Buffer.isBuffer(answer) || answer.length < HEAD || !answer.subarray(0, 16).equals(tag)) {
    throw new ReplyError("the answer names another index");
  }
  if (answer[16] === CORRUPT) {
    throw new CorruptError("the store holds an index that is none");
  }
  if ((answer.length - HEAD) % ENTRY) {
    throw new ReplyError("the answer has part of an entry");
  }
  const entries: Entry[] = [];
  for (let at = HEAD; at < answer.length; at += ENTRY) {
    entries.push(entryOf(answer.subarray(at, at + ENTRY)));
  }
  return {
    status: answer[16] as number,
    now: answer.readUIntBE(17, 6),
    blockedUntil: answer.readUIntBE(23, 6),
    entries: entries.sort((a, b) => a.added - b.added || a.handle.compare(b.handle)),
  };
}

function entryOf(part: Buffer): Entry {
  return {
    handle: part.subarray(0, 16),
    state: part[16] as number,
    added: part.readUIntBE(17, 6),
    deadline: part.readUIntBE(23, 6),
  };
}
