// The vectors of the protocol, and the calls and records that they stand for.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { PROTOCOL } from "./servers.mjs";

const require = createRequire(import.meta.url);
export const internal = (module) => require(`../dist/${module}.js`);
const b = internal("batch");

export const load = (file) => JSON.parse(readFileSync(join(PROTOCOL, file), "utf8"));
export const hex = (text = "00".repeat(16)) => Buffer.from(text, "hex");

export const STATUSES = [
  "ok",
  "absent",
  "ended",
  "superseded",
  "conflict",
  "exists",
  "other user",
  "not an integer",
  "out of range",
  "not a list",
  "too large",
];
export const STEP_STATUSES = ["ok", "blocked", "full", "unverified", "missing", "doomed"];
export const STATES = ["pending", "active", "doomed"];
const MODES = ["admin", "open", "held"];
const STEPS = ["enlist", "confirm", "refresh", "unlist", "list", "block", "unblock"];
export const REASONS = ["logout", "replaced", "revoked", "evicted"];

function opOf(v) {
  const { name = "", text = "", idle = 0, absolute = 0, browser_close: close = false } = v;
  const raw = (kind) => ({ kind, name, operand: Buffer.from(v.add ?? "0") });
  const ops = {
    get: () => b.get(name),
    "get all": b.getAll,
    set: () => b.set(name, text),
    "set if absent": () => b.setIfAbsent(name, text),
    delete: () => b.remove(name),
    pop: () => b.pop(name),
    add: () => raw(b.Kind.add),
    append: () => b.append(name, text),
    drain: () => b.drain(name),
    clear: b.clear,
    "get identity": b.getIdentity,
    touch: b.touch,
    rotate: () => b.rotate(v.from ?? 0, hex(v.secret), v.grace ?? 0),
    renew: () => b.renew(hex(v.secret)),
    authenticate: () => b.authenticate(v.user ?? "", hex(v.secret), absolute),
    "set expiry": () => b.setExpiry(idle, absolute, close),
    describe: () => b.describe(v.device ?? ""),
    create: () => b.create(hex(v.secret), idle, absolute, close),
    destroy: () => b.destroy(REASONS.indexOf(v.reason), v.keep ?? 0),
  };
  return ops[v.kind]();
}

function conditionOf({ kind, name = "", text = "", revision = 0 }) {
  const conditions = {
    "field is": () => b.fieldIs(name, Buffer.from(text)),
    "field absent": () => b.fieldIs(name, undefined),
    "revision is": () => b.revisionIs(revision),
    "user is or none": () => b.userIsOrNone(text),
  };
  return conditions[kind]();
}

/** Returns the arguments of Store.apply that a vector stands for. */
export function batchOf({ operations = [], conditions = [], access, limits = {} }) {
  const batch = new b.Batch(operations.map(opOf), conditions.map(conditionOf));
  const { mode, generation = 0, secret } = access;
  return [
    batch,
    { mode: MODES.indexOf(mode), generation, secret: hex(secret) },
    { ...b.USUAL_LIMITS, ...limits },
  ];
}

export const stepOf = ({ kind, max, handle, handles, ...rest }) => ({
  ...rest,
  kind: STEPS.indexOf(kind),
  handle: hex(handle),
  most: max,
  handles: handles?.map(hex),
});

export const u48 = (n) => b.packed(n, 6);
const u32 = (n) => b.packed(n, 4);

export function packMeta(meta, shift = 0) {
  const flags = ["browser_close", "custom_expiry", "unpresented", "has_previous", "has_user"];
  const bits = flags.reduce((sum, flag, i) => sum + (Number(meta[flag] ?? false) << i), 0);
  const times = [meta.created + shift, meta.deadline + shift, meta.idle];
  times.push(meta.touched + shift, meta.floor_time + shift, meta.renewed + shift);
  const head = [Buffer.from([1, bits]), u32(meta.generation), u32(meta.floor), hex(meta.secret)];
  return Buffer.concat([...head, ...times.map(u48)]);
}

/** Returns a record as it lies in Redis, all times shifted: an object by hexadecimal names. */
export function packRecord(record, shift = 0) {
  const named = (name) => Buffer.from(name).toString("hex");
  if (!record) {
    return { hash: {}, expires: 0 };
  }
  if (record.tombstone) {
    const { ended, until, reason } = record.tombstone;
    const head = Buffer.from([1, 32, REASONS.indexOf(reason)]);
    const stone = Buffer.concat([head, u48(ended + shift), u48(until + shift)]);
    return { hash: { [named("\0m")]: stone }, expires: until + shift };
  }
  const { meta, fields = {}, previous, user, device } = record;
  const hash = {};
  let size = 0;
  for (const [name, text] of Object.entries(fields)) {
    hash[named(name)] = Buffer.from(text);
    size += Buffer.byteLength(name) + Buffer.byteLength(text);
  }
  hash[named("\0m")] = packMeta(meta, shift);
  hash[named("\0r")] = Buffer.concat([u48(record.revision), u32(size)]);
  if (previous) {
    const presented = previous.presented ? previous.presented + shift : 0;
    const parts = [hex(previous.secret), u48(presented), u48(previous.grace)];
    hash[named("\0p")] = Buffer.concat(parts);
  }
  if (user) {
    hash[named("\0u")] = Buffer.concat([u48(record.authenticated + shift), Buffer.from(user)]);
  }
  if (device) {
    hash[named("\0d")] = Buffer.from(device);
  }
  return { hash, expires: Math.min(meta.touched + meta.idle, meta.deadline) + shift };
}

/** Returns an index as it lies in Redis, all times shifted. */
export function packIndex({ entries = [], blocked_until: blocked }, shift = 0) {
  const hash = {};
  for (const { handle, state, added, deadline } of entries) {
    const parts = [Buffer.from([STATES.indexOf(state)]), u48(added + shift), u48(deadline + shift)];
    hash[handle] = Buffer.concat(parts);
  }
  if (blocked) {
    hash["0062"] = u48(blocked + shift);
  }
  return hash;
}
