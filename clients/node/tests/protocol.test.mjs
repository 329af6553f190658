// The vectors of the protocol, by this client, and those of the scripts on a real server. Its clock
// cannot be set, so that all times of a case are shifted to a moment that is just about to come,
// and a run at another millisecond is tried again.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import * as pazzo from "pazzo";
import { KEY, PROTOCOL, Redis } from "./servers.mjs";
import * as v from "./vectors.mjs";

const { Keyring, deriveKey } = v.internal("token");
const values = v.internal("values");
const b = v.internal("batch");
const wire = v.internal("wire");
const steps = v.internal("steps");
const { APPLY, INDEX } = v.internal("store");

const HANDLE = Buffer.from(Array.from({ length: 16 }, (_, i) => i));

describe("the token", () => {
  const { keys, valid, invalid } = v.load("token.json");
  for (const { secret_key: key, derived } of keys) {
    test(`derived key of ${key.slice(0, 20)}`, () => {
      assert.equal(deriveKey(key).toString("hex"), derived);
    });
  }
  for (const c of valid) {
    test(`valid: ${c.name}`, () => {
      const ring = new Keyring(c.secret_keys);
      const opened = ring.open(c.token);
      assert.equal(opened.old, (c.signed_by ?? 0) > 0);
      assert.equal(opened.token.handle.toString("hex"), c.handle);
      assert.equal(opened.token.generation, c.generation);
      assert.equal(opened.token.secret.toString("hex"), c.secret);
      assert.equal(ring.seal(opened.token), c.reissued);
    });
  }
  test("a verified text is remembered, a forged one like it refused all the same", () => {
    const ring = new Keyring([KEY]);
    const seal = (n) =>
      ring.seal({ handle: HANDLE, generation: n, secret: Buffer.alloc(16, n & 0xff) });
    const texts = Array.from({ length: 2000 }, (_, n) => seal(n)); // more than are remembered
    for (const text of [...texts, ...texts.slice(0, 10), ...texts.slice(-10)]) {
      const { token } = ring.open(text);
      assert.equal(ring.seal(token), text);
      const last = text.endsWith("A") ? "B" : "A";
      assert.equal(ring.open(text.slice(0, -1) + last), undefined);
      assert.equal(ring.open(text.slice(1)), undefined);
    }
    assert.equal(new Keyring([`${KEY}2`]).open(texts[0]), undefined);
    assert.equal(ring.open(texts[1999]), ring.open(texts[1999]));
    assert.notEqual(new Keyring([KEY]).open(texts[1999]), ring.open(texts[1999]));
  });
  for (const c of invalid) {
    test(`invalid: ${c.name}`, () => {
      assert.equal(new Keyring(c.secret_keys).open(c.token), undefined);
    });
  }
});

describe("texts and names", () => {
  const { valid, invalid, integers, names } = v.load("text.json");
  for (const { text, kept } of valid) {
    test(`kept: ${JSON.stringify(text)}`, () => {
      assert.equal(values.compact("f", text), kept);
    });
  }
  for (const { name, hex } of invalid) {
    test(`refused: ${name}`, () => {
      // What is no UTF-8 cannot be a string here; it may still come from the store.
      const raw = Buffer.from(hex, "hex");
      const text = raw.toString();
      if (Buffer.from(text).equals(raw)) {
        assert.throws(() => values.compact("f", text), pazzo.EncodeError);
      } else {
        assert.throws(() => values.decode("f", raw), pazzo.DecodeError);
      }
    });
  }
  for (const { text, is } of integers) {
    test(`add ${text}: ${is}`, () => {
      const parsed = JSON.parse(text === "-" || /^-?0[0-9]/.test(text) ? "null" : text);
      const number = /^-?[0-9]+$/.test(text) ? BigInt(text) : parsed;
      if (is === "integer") {
        assert.equal(b.add("n", number).operand.toString(), text);
      } else if (is === "out of range") {
        assert.throws(() => b.add("n", number), pazzo.OutOfRangeError);
      }
    });
  }
  for (const { hex, error } of names) {
    test(`name ${hex.slice(0, 20)}: ${error ?? "good"}`, () => {
      const raw = Buffer.from(hex, "hex");
      const text = raw.toString();
      const name = Buffer.from(text).equals(raw) ? text : "\ud800";
      const errors = { name: pazzo.FieldNameError, "too large": pazzo.TooLargeError };
      const check = () => b.checkName(name, b.USUAL_LIMITS);
      error ? assert.throws(check, errors[error]) : check();
    });
  }
});

describe("the wire", () => {
  const { handle, user, scripts, batches, steps: wanted } = v.load("wire.json");
  const { cases } = v.load("batch.json");
  const { cases: stepCases } = v.load("index.json");
  const target = Buffer.from(handle, "hex");

  test("the scripts are the published ones, byte for byte", () => {
    const ours = { "apply.lua": APPLY, "index.lua": INDEX };
    for (const { file, sha1 } of scripts) {
      assert.deepEqual(ours[file].source, readFileSync(join(PROTOCOL, file)));
      assert.equal(ours[file].sha, sha1);
    }
  });
  for (const [i, { name, args, answer }] of batches.entries()) {
    test(`batch: ${name}`, () => {
      assert.equal(cases[i].name, name);
      const [batch, access, limits] = v.batchOf(cases[i].batch);
      const sent = wire.encode(target, batch, access, limits);
      assert.deepEqual(
        sent.map((arg) => Buffer.from(arg).toString("hex")),
        args,
      );
      const reply = wire.decode(Buffer.from(answer, "hex"), target, batch);
      assert.equal(reply.now, cases[i].now);
      checkReply(reply, cases[i].reply, 0);
    });
  }
  for (const [i, { name, args, answer }] of wanted.entries()) {
    test(`step: ${name}`, () => {
      assert.equal(stepCases[i].name, name);
      const sent = steps.encodeStep(user, v.stepOf(stepCases[i].step));
      assert.deepEqual(
        sent.map((arg) => Buffer.from(arg).toString("hex")),
        args,
      );
      const reply = steps.decodeStep(Buffer.from(answer, "hex"), user);
      assert.equal(reply.now, stepCases[i].now);
      checkStep(reply, stepCases[i].reply, 0);
    });
  }
  test("no other answer is taken", () => {
    for (const [i, { answer }] of batches.slice(0, 6).entries()) {
      const [batch] = v.batchOf(cases[i].batch);
      const good = Buffer.from(answer, "hex");
      const longer = Buffer.concat([good, Buffer.from("x")]);
      const other = Buffer.concat([Buffer.from("x"), good.subarray(1)]);
      for (const wrong of [Buffer.alloc(0), good.subarray(0, -1), longer, other, null, 1, []]) {
        assert.throws(() => wire.decode(wrong, target, batch), wire.ReplyError);
      }
    }
    for (const wrong of [Buffer.alloc(0), Buffer.alloc(40), null, "x"]) {
      assert.throws(() => steps.decodeStep(wrong, user), wire.ReplyError);
    }
  });
});

describe("the scripts on a server", () => {
  let redis;
  let manager;
  let store;
  let key;

  before(async () => {
    redis = await Redis.start();
    manager = new pazzo.Manager(`${redis.url}?prefix=v:`, { secretKeys: [KEY] });
    store = manager.core.store;
    key = `v:{${HANDLE.toString("hex")}}`;
    // Makes the scripts known, so that no case is late by that.
    await store.apply(Buffer.alloc(16), new b.Batch([]), b.AS_ADMIN, b.USUAL_LIMITS);
    await store.applyStep("bob", { kind: steps.StepKind.list });
  });
  after(async () => {
    await manager.close();
    await redis.close();
  });

  for (const c of v.load("batch.json").cases) {
    test(`batch: ${c.name}`, () =>
      redis.do(async (call) => {
        const [batch, access, limits] = v.batchOf(c.batch);
        let reply;
        let after;
        const shift = await atTime(call, c.now, async (s) => {
          const { hash, expires } = v.packRecord(c.before, s);
          await put(call, key, hash, expires > c.now + s ? expires : 0);
          await waitUntil(call, c.now + s);
          reply = await store.apply(HANDLE, batch, access, limits);
          after = { hash: await lies(call, key), expires: await call("PEXPIRETIME", key) };
          return serverTime(call); // so that nothing has expired in between
        });
        const want = { ...c.reply };
        // A plain read does not tell the revision.
        if (reply.status === wire.Status.ok && reply.revision === 0) {
          want.revision = 0;
        }
        checkReply(reply, want, shift);
        const { hash, expires } = v.packRecord(c.after, shift);
        if (c.after || reply.status === wire.Status.ok) {
          assert.deepEqual(after, { hash, expires: expires || -2 });
        }
      }));
  }

  for (const c of v.load("index.json").cases) {
    test(`step: ${c.name}`, () =>
      redis.do(async (call) => {
        const place = `v:u:${steps.digest("ann").toString("hex")}`;
        let reply;
        let after;
        const shift = await atTime(call, c.now, async (s) => {
          await put(call, place, v.packIndex(c.before, s), 0);
          await waitUntil(call, c.now + s);
          reply = await store.applyStep("ann", v.stepOf(c.step));
          after = await lies(call, place);
          return serverTime(call);
        });
        checkStep(reply, c.reply, shift);
        assert.deepEqual(after, v.packIndex(c.after, shift));
      }));
  }

  for (const c of v.load("record.json").sessions) {
    test(`record: ${c.name}`, () =>
      redis.do(async (call) => {
        const packed = v.packRecord(c.record);
        assert.deepEqual(
          Object.fromEntries(Object.entries(packed.hash).map(([k, t]) => [k, t.toString("hex")])),
          c.hash,
        );
        assert.equal(packed.expires, c.expires);
        const shift = (await serverTime(call)) - 1_800_000_300_000; // so that it is alive
        const place = `v:${c.key.slice(c.prefix.length)}`;
        await put(call, place, v.packRecord(c.record, shift).hash, 0);
        const batch = new b.Batch([b.getAll(), b.getIdentity()]);
        const handle = Buffer.from(c.handle, "hex");
        const reply = await store.apply(handle, batch, b.AS_ADMIN, b.USUAL_LIMITS);
        if (c.record.tombstone) {
          const alive = c.record.tombstone.until > 1_800_000_300_000;
          assert.equal(reply.status, alive ? wire.Status.ended : wire.Status.absent);
        } else {
          const { fields = {}, user = "", device = "", meta, revision } = c.record;
          assert.deepEqual(texts(reply.fields), fields);
          assert.deepEqual([reply.user, reply.device, reply.revision], [user, device, revision]);
          assert.deepEqual(reply.meta.raw, v.packMeta(meta, shift));
        }
        await call("DEL", place);
      }));
  }

  for (const { user, prefix, key: place } of v.load("record.json").index_keys) {
    test(`where the index of ${user.slice(0, 10)} lies`, () => {
      assert.equal(`${prefix}u:${steps.digest(user).toString("hex")}`, place);
    });
  }

  for (const c of v.load("record.json").unreadable) {
    test(`unreadable: ${c.name}`, () =>
      redis.do(async (call) => {
        const errors = { layout: pazzo.LayoutError, corrupt: pazzo.CorruptError };
        const hash = {
          "006d": Buffer.from(c.meta, "hex"),
          "0072": Buffer.alloc(10, 1),
          61: Buffer.from("1"),
        };
        await put(call, key, hash, 0);
        for (const ops of [[b.get("a")], [b.set("a", "2")], [b.destroy(0, 1)]]) {
          const work = store.apply(HANDLE, new b.Batch(ops), b.AS_ADMIN, b.USUAL_LIMITS);
          await assert.rejects(work, errors[c.error]);
        }
        assert.deepEqual(await lies(call, key), hash);
        await call("DEL", key);
      }));
  }

  for (const c of v.load("batch.json").refused) {
    test(`refused: ${c.name}`, async () => {
      const errors = {
        name: pazzo.FieldNameError,
        "too large": pazzo.TooLargeError,
        batch: pazzo.BatchError,
      };
      const apply = async () => store.apply(HANDLE, ...v.batchOf(c.batch));
      await assert.rejects(apply, errors[c.error]);
    });
  }
});

function checkReply(got, want, shift) {
  assert.equal(v.STATUSES[got.status], want.status);
  assert.equal(got.at, want.at ?? 0);
  assert.equal(v.REASONS[got.reason], want.reason ?? "logout");
  assert.equal(got.revision, want.revision ?? 0);
  assert.deepEqual(got.meta?.raw, want.meta && v.packMeta(want.meta, shift));
  if (got.status === wire.Status.ok) {
    const answers = got.values.map(({ found, text }) => [found, text.toString()]);
    const wanted = (want.values ?? []).map(({ found = false, text = "" }) => [found, text]);
    assert.deepEqual(answers, wanted);
  }
  assert.deepEqual(texts(got.fields), want.fields ?? {});
  const { user = "", device = "", authenticated } = want.identity ?? {};
  assert.deepEqual([got.user, got.device], [user, device]);
  if (user) {
    assert.equal(got.authenticated, authenticated + shift);
  }
}

function checkStep(got, want, shift) {
  assert.equal(v.STEP_STATUSES[got.status], want.status);
  assert.equal(got.blockedUntil, want.blocked_until ? want.blocked_until + shift : 0);
  assert.deepEqual(
    got.entries.map((e) => [e.handle.toString("hex"), v.STATES[e.state], e.added, e.deadline]),
    want.entries.map((e) => [e.handle, e.state, e.added + shift, e.deadline + shift]),
  );
}

const texts = (fields) => Object.fromEntries([...fields].map(([k, text]) => [k, String(text)]));

async function serverTime(call) {
  const [seconds, micros] = await call("TIME");
  return Number(seconds) * 1000 + Math.floor(Number(micros) / 1000);
}

async function waitUntil(call, moment) {
  while ((await serverTime(call)) < moment);
}

/** Runs at the server's time that is *now* shifted; run returns the time it ran at. */
async function atTime(call, now, run) {
  for (let i = 0; i < 2000; i++) {
    const shift = (await serverTime(call)) + 4 - now;
    if ((await run(shift)) === now + shift) {
      return shift;
    }
  }
  throw new Error("the server never ran it at the wanted millisecond");
}

async function put(call, key, hash, expires) {
  await call("DEL", key);
  const parts = Object.entries(hash).flatMap(([name, text]) => [Buffer.from(name, "hex"), text]);
  if (parts.length) {
    await call("HSET", key, ...parts);
  }
  if (expires) {
    await call("PEXPIREAT", key, expires);
  }
}

async function lies(call, key) {
  const all = await call("HGETALL", key);
  const hash = {};
  for (let i = 0; i < all.length; i += 2) {
    hash[all[i].toString("hex")] = all[i + 1];
  }
  return hash;
}
