/**
 * How batches and their answers look on the wire: the arguments of apply.lua, whose head comment
 * defines both. Numbers are big-endian.
 */

import { isUtf8 } from "node:buffer";
import { timingSafeEqual } from "node:crypto";
import { type Access, type Batch, Kind, type Limits, Mode, type Part } from "./batch";
import { CorruptError, LayoutError } from "./errors";

export const LAYOUT = 1;
const META_SIZE = 62;
const HEAD_SIZE = 63;
const ANSWER = 38;
const UNKNOWN_LAYOUT = 254;

/** Statuses of an answer. */
export const Status = {
  ok: 0,
  absent: 1,
  ended: 2,
  superseded: 3,
  conflict: 4,
  exists: 5,
  otherUser: 6,
  notInteger: 7,
  outOfRange: 8,
  notList: 9,
  tooLarge: 10,
} as const;

const ANSWERS = new Set<number>([
  Kind.get,
  Kind.setIfAbsent,
  Kind.delete,
  Kind.pop,
  Kind.add,
  Kind.drain,
  Kind.touch,
  Kind.rotate,
  Kind.destroy,
]);

/** An answer is not what the script gives: a fault of the connection or the server. */
export class ReplyError extends Error {}

/** What one operation answers; undefined if it answers nothing or has found nothing. */
export interface Value {
  readonly found: boolean;
  readonly text: Buffer;
}

const NOTHING: Value = { found: false, text: Buffer.alloc(0) };

/** The meta data of a live session, as they are packed. Times are ms by the store. */
export class Meta {
  /** Throws LayoutError or CorruptError for what is not a live session's. */
  constructor(readonly raw: Buffer) {
    if (!Meta.isPlain(raw)) {
      refuseLayout(raw[0]);
      throw new CorruptError("the store holds meta data that are not a session's");
    }
  }

  /** Whether these are meta data of a live session in our layout. */
  static isPlain(raw: Buffer): boolean {
    return raw.length === META_SIZE && raw[0] === LAYOUT && (raw[1] as number) < 32;
  }

  #has(flag: number): boolean {
    return ((this.raw[1] as number) & flag) !== 0;
  }

  /** Whether the session chose a cookie that ends with the browser. */
  get browserClose(): boolean {
    return this.#has(1);
  }

  /** Whether the session chose its own timeouts. */
  get ownTimeouts(): boolean {
    return this.#has(2);
  }

  /** The generation of the current token. */
  get generation(): number {
    return this.raw.readUInt32BE(2);
  }

  /** The secret of the current token. */
  get secret(): Buffer {
    return this.raw.subarray(10, 26);
  }

  /** When the session was made. */
  get created(): number {
    return this.raw.readUIntBE(26, 6);
  }

  /** The absolute end. */
  get deadline(): number {
    return this.raw.readUIntBE(32, 6);
  }

  /** The timeout without activity. */
  get idle(): number {
    return this.raw.readUIntBE(38, 6);
  }

  /** The last recorded activity. */
  get touched(): number {
    return this.raw.readUIntBE(44, 6);
  }

  /** When the session ends, unless it is used before. */
  get expires(): number {
    return Math.min(this.touched + this.idle, this.deadline);
  }

  /** When older tokens were last ended. */
  get floorTime(): number {
    return this.raw.readUIntBE(50, 6);
  }

  /** When the current generation began. */
  get renewed(): number {
    return this.raw.readUIntBE(56, 6);
  }

  /** Whether activity is to be recorded. */
  touchDue(now: number): boolean {
    return now - this.touched >= Math.floor(this.idle / 10);
  }

  /** Whether plain meta data show that the access is given. */
  isOf(access: Access): boolean {
    const unpresented = this.#has(4);
    return (
      timingSafeEqual(this.secret, access.secret) &&
      this.generation === access.generation &&
      !(access.mode === Mode.open && unpresented)
    );
  }
}

function refuseLayout(layout: number | undefined): void {
  if (layout !== undefined && layout !== LAYOUT) {
    throw new LayoutError(`the session has layout ${layout}: this version knows layout ${LAYOUT}`);
  }
}

/** What a batch was answered. `meta` is undefined if there is no session to tell of. */
export class Reply {
  at = 0;
  reason = 0;
  /** The store's time. */
  now = 0;
  revision = 0;
  meta: Meta | undefined;
  values: Value[];
  fields = new Map<string, Buffer>();
  user = "";
  authenticated = 0;
  device = "";

  constructor(
    readonly status: number = Status.ok,
    operations = 0,
  ) {
    this.values = Array(operations).fill(NOTHING);
  }

  /** The answer of the operation in that place. */
  value(at = 0): Value {
    return this.values[at] ?? NOTHING;
  }

  /** The text that the operation in that place has found. */
  text(at = 0): Buffer | undefined {
    const { found, text } = this.value(at);
    return found ? text : undefined;
  }

  /** Takes the hash fields `\0u` and `\0d`. */
  setIdentity(user: Buffer | null, device: Buffer | null): void {
    this.device = device?.toString() ?? "";
    if (!user) {
      return;
    }
    if (user.length < 7) {
      throw new CorruptError("the store holds a user that is none");
    }
    this.authenticated = user.readUIntBE(0, 6);
    this.user = textOf(user.subarray(6));
  }

  /** The meta data, of a batch that cannot have succeeded without a session. */
  liveMeta(): Meta {
    if (!this.meta) {
      throw new CorruptError("the store answers for a session without meta data");
    }
    return this.meta;
  }
}

/** Decodes a name or a user that the store holds. */
export function textOf(raw: Buffer): string {
  const text = raw.toString();
  if (text.includes("\ufffd") && !isUtf8(raw)) {
    throw new CorruptError("the store holds a name that is not UTF-8");
  }
  return text;
}

/** Returns the arguments of apply.lua. */
export function encode(
  handle: Buffer,
  batch: Batch,
  access: Access,
  limits: Limits,
): (Buffer | string)[] {
  const parts = [...batch.conditions, ...batch.ops];
  const names: string[] = [];
  const operands: (Buffer | string)[] = [];
  for (const { name, operand } of parts) {
    if (name !== undefined) {
      names.push(name);
    }
    if (operand !== undefined) {
      operands.push(operand);
    }
  }
  return [head(handle, batch, access, limits, names.length, parts), ...names, ...operands];
}

function head(
  handle: Buffer,
  batch: Batch,
  access: Access,
  limits: Limits,
  names: number,
  parts: readonly Part[],
): Buffer {
  const out = Buffer.allocUnsafe(HEAD_SIZE + parts.length); // every byte is written
  out[0] = LAYOUT;
  handle.copy(out, 1);
  out[17] = access.mode;
  out[18] = Number(batch.ops.some((op) => op.kind === Kind.clear));
  out.writeUInt32BE(access.generation, 19);
  access.secret.copy(out, 23);
  out.writeUInt32BE(limits.value, 39);
  out.writeUInt32BE(limits.fields, 43);
  out.writeUInt32BE(limits.size, 47);
  out.writeUInt32BE(names, 51);
  out.writeUInt32BE(batch.conditions.length, 55);
  out.writeUInt32BE(batch.ops.length, 59);
  let at = HEAD_SIZE;
  for (const { kind } of parts) {
    out[at++] = kind;
  }
  return out;
}

/** Reads the answer of apply.lua. ReplyError is thrown unless it is to this call. */
export function decode(answer: unknown, handle: Buffer, batch: Batch): Reply {
  if (
    !Buffer.isBuffer(answer) ||
    answer.length < ANSWER ||
    !answer.subarray(0, 16).equals(handle)
  ) {
    throw new ReplyError("the answer names another session");
  }
  const status = answer[16] as number;
  const at = answer.readUInt32BE(17);
  if (status === UNKNOWN_LAYOUT) {
    refuseLayout(at);
  }
  if (status >= UNKNOWN_LAYOUT) {
    throw new CorruptError(`the store holds corrupt data of session ${handle.toString("hex")}`);
  }
  const reply = new Reply(status, batch.ops.length);
  reply.at = at;
  reply.reason = answer[21] as number;
  reply.now = answer.readUIntBE(22, 6);
  reply.revision = answer.readUIntBE(28, 6);
  const rest = new Input(answer, ANSWER);
  if (reply.revision) {
    reply.meta = new Meta(rest.take(META_SIZE));
  }
  if (status === Status.ok) {
    for (const [i, op] of batch.ops.entries()) {
      readAnswer(rest, op.kind, i, reply);
    }
  }
  rest.end();
  return reply;
}

function readAnswer(rest: Input, kind: number, i: number, reply: Reply): void {
  if (ANSWERS.has(kind)) {
    reply.values[i] = rest.value();
  } else if (kind === Kind.getIdentity) {
    const user = rest.value();
    reply.setIdentity(user.found ? user.text : null, rest.value().text);
  } else if (kind === Kind.getAll) {
    for (let n = rest.number(); n > 0; n--) {
      const name = textOf(rest.take(rest.number()));
      reply.fields.set(name, rest.take(rest.number()));
    }
  }
}

/** Reads an answer from its front. */
class Input {
  readonly #raw: Buffer;
  #at: number;

  constructor(raw: Buffer, at: number) {
    this.#raw = raw;
    this.#at = at;
  }

  take(size: number): Buffer {
    const part = this.#raw.subarray(this.#at, this.#at + size);
    if (part.length !== size) {
      throw new ReplyError("the answer is cut short");
    }
    this.#at += size;
    return part;
  }

  number(): number {
    return this.take(4).readUInt32BE();
  }

  value(): Value {
    const found = this.take(1)[0] === 1;
    return { found, text: this.take(this.number()) };
  }

  end(): void {
    if (this.#at !== this.#raw.length) {
      throw new ReplyError("the answer is too long");
    }
  }
}
