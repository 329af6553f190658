// The session's operations and the sessions of users, over Redis and over an agent.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { inspect } from "node:util";
import * as pazzo from "pazzo";
import { Agent, KEY, Redis } from "./servers.mjs";
import { internal } from "./vectors.mjs";

const { encode, decode } = internal("values");
const { Lock } = internal("lock");
const { Session } = internal("session");
const { EntryState, StepKind } = internal("steps");

/** The session of a page's fetch: with a token that has ended, it may not begin anew. */
const fetched = (manager, token) =>
  new Session(
    manager.stateOf({
      headers: { cookie: `__Host-session=${token}`, "sec-fetch-mode": "cors" },
    }),
  );

for (const [kind, Server] of Object.entries({ Redis, Agent })) {
  for (const reads of ["live", "request"]) {
    describe(`over ${kind}, ${reads} reads`, () => operations(Server, reads));
  }
  describe(`users over ${kind}`, () => users(Server));
}

function operations(Server, reads) {
  let server;
  let manager;
  before(async () => {
    server = await Server.start();
    manager = new pazzo.Manager(`${server.url}?timeout=5s`, { secretKeys: [KEY], reads });
  });
  after(async () => {
    await manager.close();
    await server.close();
  });
  /** The same session, in another request. */
  const again = (session) => manager.acquire(session.sealedToken);

  test("reads make no session", async () => {
    const session = manager.acquire();
    assert.equal(await session.get("a"), undefined);
    assert.equal(await session.has("a"), false);
    assert.deepEqual(await session.getAll(), {});
    assert.equal(await session.pop("a"), undefined);
    assert.equal(await session.delete("a"), false);
    assert.deepEqual(await session.drain("a"), []);
    assert.equal(await session.info(), undefined);
    assert.equal(await session.destroy(), false);
    assert.equal(session.handle, undefined);
    assert.equal(session.sealedToken, "");
  });

  test("get, set, has, text, getAll, assign, delete, clear", async () => {
    const session = manager.acquire();
    await session.set("a", { b: [1, null] });
    await session.assign({ c: "3", d: true });
    await session.setText("e", ' [ 1.50 , "é" ] ');
    const wanted = { a: { b: [1, null] }, c: "3", d: true, e: [1.5, "é"] };
    for (const one of [session, again(session)]) {
      assert.deepEqual(await one.getAll(), wanted);
      assert.deepEqual(await one.get("a"), { b: [1, null] });
      assert.equal(await one.text("e"), '[1.50,"é"]');
      assert.equal((await one.texts()).e, '[1.50,"é"]');
      assert.equal(await one.has("d"), true);
    }
    assert.equal(await session.delete("a", "c", "x", "a"), true);
    assert.equal(await session.delete("a"), false);
    assert.deepEqual(Object.keys(await session.getAll()).sort(), ["d", "e"]);
    await session.clear();
    assert.deepEqual(await session.getAll(), {});
    assert.deepEqual(await again(session).getAll(), {});
  });

  test("setIfAbsent has one winner", async () => {
    const session = manager.acquire();
    await session.set("x", 0);
    const tries = [1, 2, 3].map((n) => again(session).setIfAbsent("a", n));
    const all = await Promise.all(tries);
    const [winner] = all.filter(({ isNew }) => isNew);
    assert.equal(all.filter(({ isNew }) => isNew).length, 1);
    assert.ok(all.every(({ value }) => value === winner.value));
  });

  test("compareAndSet compares values, not texts", async () => {
    const session = manager.acquire();
    assert.equal(await session.compareAndSet("a", undefined, 1), true);
    assert.equal(await session.compareAndSet("a", undefined, 2), false);
    await session.setText("a", '{"x":1.0,"y":"\\u00e9"}');
    assert.equal(await session.compareAndSet("a", { x: 2, y: "é" }, 3), false);
    assert.equal(await session.compareAndSet("a", { y: "é", x: 1 }, 3), true);
    assert.equal(await session.get("a"), 3);
  });

  test("pop has one winner", async () => {
    const session = manager.acquire();
    await session.set("ticket", "t");
    const found = await Promise.all(Array.from({ length: 20 }, () => again(session).pop("ticket")));
    assert.deepEqual(
      found.filter((value) => value !== undefined),
      ["t"],
    );
  });

  test("add", async () => {
    const session = manager.acquire();
    assert.equal(await session.add("n"), 1);
    assert.equal(await session.add("n", 41n), 42);
    assert.equal(await session.add("n", -50), -8);
    assert.equal(await session.get("n"), -8);
    await session.set("text", "1");
    await assert.rejects(session.add("text"), pazzo.NotIntegerError);
    await session.set("n", Number.MAX_SAFE_INTEGER);
    await assert.rejects(session.add("n"), pazzo.OutOfRangeError);
    for (const wrong of [1.5, 2 ** 53, Number.NaN, 2n ** 60n]) {
      await assert.rejects(session.add("n", wrong), pazzo.OutOfRangeError);
    }
    assert.equal(await session.get("n"), Number.MAX_SAFE_INTEGER);
  });

  test("append and drain", async () => {
    const session = manager.acquire();
    await session.append("list", "a");
    await again(session).append("list", { b: 1 });
    assert.deepEqual(await session.drain("list"), ["a", { b: 1 }]);
    assert.deepEqual(await session.drain("list"), []);
    await session.set("n", 1);
    await assert.rejects(session.append("n", 1), pazzo.NotListError);
    await assert.rejects(session.drain("n"), pazzo.NotListError);
  });

  test("update loses nothing, alone and nested", async () => {
    const session = manager.acquire();
    await session.set("cart", []);
    let calls = 0;
    const add = (n) =>
      again(session).update("cart", (cart = []) => {
        calls++;
        return [...cart, n];
      });
    await Promise.all(Array.from({ length: 50 }, (_, n) => add(n)));
    const cart = await again(session).get("cart");
    assert.deepEqual(
      cart.sort((x, y) => x - y),
      Array.from({ length: 50 }, (_, n) => n),
    );
    assert.equal(calls, 50); // those of one process wait for one another
    const nested = await session.update("a", async (a = 0) => {
      await session.update("b", (n = 0) => n + 1);
      return a + 1;
    });
    assert.deepEqual([nested, await session.get("b")], [1, 1]);
  });

  test("atomically moves all or nothing", async () => {
    const session = manager.acquire();
    await session.assign({ from: 100, to: 0 });
    const move = () =>
      again(session).atomically((tx) => {
        tx.set("to", tx.get("to") + 1);
        tx.set("from", tx.get("from") - 1);
        tx.add("moves");
        tx.append("log", "moved");
        return tx.names().length;
      });
    await Promise.all(Array.from({ length: 20 }, move));
    const { from, to, moves, log } = await again(session).getAll();
    assert.deepEqual([from, to, moves, log.length], [80, 20, 20, 20]);
    const failing = session.atomically((tx) => {
      tx.set("from", 0);
      throw new Error("no");
    });
    await assert.rejects(failing, /no/);
    assert.equal(await again(session).get("from"), 80);
    await session.atomically((tx) => {
      tx.clear();
      tx.set("only", tx.has("from") ? 1 : 2);
      assert.throws(() => tx.add("only"), pazzo.BatchError);
    });
    assert.deepEqual(await again(session).getAll(), { only: 2 });
    const inside = session.atomically(() => session.renew());
    await assert.rejects(inside, pazzo.InTransactionError);
  });

  test("data: changed fields are written by save, on condition that they are what was read", async () => {
    const session = manager.acquire();
    await session.assign({ a: 1, b: { n: 1 }, c: [1], d: "d" });
    const one = again(session);
    const two = again(session);
    await one.load();
    await two.load();
    one.data.a = 2;
    one.data.b.n = 2;
    delete one.data.d;
    one.data.e = "new";
    two.data.c.push(2);
    await one.save();
    await two.save();
    const wanted = { a: 2, b: { n: 2 }, c: [1, 2], e: "new" };
    assert.deepEqual(await again(session).getAll(), wanted);
    two.data.b.n = 9;
    two.data.f = 1;
    await assert.rejects(two.save(), (error) => {
      assert.ok(error instanceof pazzo.StaleFieldError && error instanceof pazzo.ConflictError);
      assert.deepEqual(error.fields, ["b"]);
      return error.status === 409;
    });
    assert.deepEqual(await again(session).getAll(), { ...wanted, f: 1 });
    await two.save(); // it is told once
  });

  test("data: another language's encoding is no change", async () => {
    const session = manager.acquire();
    await session.setText("a", '{"x":1.0,"y":"\\u003c"}');
    const other = again(session);
    await other.load();
    assert.deepEqual(other.data.a, { x: 1, y: "<" });
    assert.equal(other.isChanged, false);
  });

  test("data: operations show in it, and save what was changed before", async () => {
    const session = manager.acquire();
    await session.load();
    session.data.n = 1;
    assert.equal(await session.add("n", 2), 3);
    session.data.list = ["a"];
    await session.append("list", "b");
    await session.append("list", "c");
    await session.set("x", { y: 1 });
    assert.deepEqual(session.data, { n: 3, list: ["a", "b", "c"], x: { y: 1 } });
    session.data.list.push("d");
    assert.deepEqual(await session.drain("list"), ["a", "b", "c", "d"]);
    await session.pop("x");
    assert.deepEqual(session.data, { n: 3 });
    session.data = { only: 1 };
    await session.save();
    assert.deepEqual(await again(session).getAll(), { only: 1 });
  });

  test("data: a value that does not decode spoils its own field only", async () => {
    const session = manager.acquire();
    await session.setText("big", "1e400");
    await session.set("a", 1);
    const other = again(session);
    await other.load();
    assert.equal(other.data.a, 1);
    assert.throws(() => other.data.big, pazzo.DecodeError);
    other.data.a = 2;
    await other.save();
    await assert.rejects(other.get("big"), pazzo.DecodeError);
    assert.equal(await other.text("big"), "1e400");
    other.data.big = 1;
    await other.save();
    assert.deepEqual(await again(session).getAll(), { a: 2, big: 1 });
  });

  test("renewal ends older tokens at once, and keeps the fields", async () => {
    const session = manager.acquire();
    await session.set("a", 1);
    const old = session.sealedToken;
    await session.renew();
    assert.notEqual(session.sealedToken, old);
    assert.equal(await again(session).get("a"), 1);
    const late = manager.acquire(old);
    assert.equal(await late.get("a"), undefined);
    await assert.rejects(late.set("a", 2), pazzo.SupersededError);
    await assert.rejects(late.destroy(), pazzo.SupersededError);
  });

  test("a destroyed session never comes back", async () => {
    const session = manager.acquire();
    await session.set("a", 1);
    const other = fetched(manager, session.sealedToken);
    await other.get("a");
    const { sealedToken: token } = session;
    const writers = Array.from({ length: 50 }, () => fetched(manager, token).add("n"));
    assert.equal(await session.destroy(), true);
    for (const { status, reason } of await Promise.allSettled(writers)) {
      assert.ok(status === "fulfilled" || reason instanceof pazzo.GoneError, reason);
    }
    await assert.rejects(other.set("a", 2), pazzo.GoneError);
    assert.equal(await other.get("a"), undefined);
    await session.set("b", 1); // the request itself may begin anew
    assert.deepEqual(await session.getAll(), { b: 1 });
  });

  test("values of other types, and what cannot be stored", async () => {
    const session = manager.acquire();
    await session.set("date", new Date(0));
    assert.equal(await session.get("date"), "1970-01-01T00:00:00.000Z");
    const tagged = { $date: "2026-11-24" };
    await session.set("tagged", tagged);
    assert.deepEqual(await session.get("tagged"), tagged);
    for (const wrong of [undefined, () => 1, Number.NaN, new Map(), "\ud800", [undefined]]) {
      await assert.rejects(session.set("a", wrong), pazzo.EncodeError);
    }
    await assert.rejects(session.set("\0m", 1), pazzo.FieldNameError);
    await assert.rejects(session.set("a", "x".repeat(300_000)), pazzo.TooLargeError);
    assert.equal(await session.has("a"), false);
  });

  test("1,000 concurrent requests on one session lose nothing", async () => {
    const session = manager.acquire();
    await session.set("start", true);
    const { sealedToken: token } = session;
    const work = Array.from({ length: 1000 }, async (_, i) => {
      const request = manager.acquire(token);
      await request.add("n");
      await request.set(`f${i % 100}`, i);
      await request.append("list", i);
    });
    await Promise.all(work);
    const all = await manager.acquire(token).getAll();
    assert.equal(all.n, 1000);
    assert.equal(all.list.length, 1000);
    assert.equal(Object.keys(all).length, 103);
  });

  test("setExpiry and info", async () => {
    const session = manager.acquire();
    await session.setExpiry({ idle: 60, absolute: 120 });
    await session.setDevice({ ip: "127.0.0.1", userAgent: "test" });
    const info = await session.info();
    assert.equal(info.idle, 60);
    assert.equal(Math.round((info.deadline - info.created) / 1000), 120);
    assert.deepEqual(info.device, { ip: "127.0.0.1", userAgent: "test" });
    assert.equal(info.handle, session.handle);
    assert.match(info.handle, /^[0-9a-f]{32}$/);
    await assert.rejects(session.setExpiry({ idle: 0.5 }), pazzo.OptionsError);
    await assert.rejects(session.setExpiry({ idle: 90, absolute: 60 }), pazzo.OptionsError);
  });
}

function users(Server) {
  let server;
  let manager;
  const managers = [];
  const make = (options = {}) => {
    managers.push(new pazzo.Manager(server.url, { secretKeys: [KEY], ...options }));
    return managers.at(-1);
  };
  before(async () => {
    server = await Server.start();
    manager = make();
  });
  after(async () => {
    await Promise.all(managers.map((each) => each.close()));
    await server.close();
  });
  const loggedIn = async (user, by = manager) => {
    const session = by.acquire();
    await session.authenticate(user);
    return session;
  };
  /** Lets the store's clock, in milliseconds, go on: lists go by the time of the login. */
  const later = () => pause(2);

  test("a login renews the token and keeps the fields", async () => {
    const session = manager.acquire();
    await session.set("cart", [1]);
    const { sealedToken: old, handle } = session;
    await session.authenticate("ann");
    assert.equal(session.handle, handle);
    assert.equal(await session.authenticatedUser(), "ann");
    assert.deepEqual(await manager.acquire(session.sealedToken).get("cart"), [1]);
    await assert.rejects(manager.acquire(old).set("a", 1), pazzo.SupersededError);
    await session.authenticate("ann");
    assert.deepEqual(await session.get("cart"), [1]);
    const second = manager.acquire(old); // the first login's response may have been lost
    await second.authenticate("ann");
    assert.notEqual(second.handle, handle);
  });

  test("a login over another user replaces the session", async () => {
    const session = await loggedIn("bob");
    await session.set("secret", 1);
    await session.load();
    const { sealedToken: token, handle } = session;
    await session.authenticate("eve");
    assert.notEqual(session.handle, handle);
    assert.deepEqual(await session.getAll(), {});
    assert.deepEqual(session.data, {});
    await assert.rejects(fetched(manager, token).set("a", 1), pazzo.GoneError);
    assert.deepEqual(await manager.sessions("bob"), []);
  });

  test("sessions, revoke and revokeAll", async () => {
    const all = [];
    for (let i = 0; i < 3; i++) {
      all.push(await loggedIn("carl"));
      await later();
    }
    const listed = await manager.sessions("carl");
    assert.deepEqual(
      listed.map(({ handle }) => handle),
      all.map(({ handle }) => handle),
    );
    assert.ok(listed.every(({ user, authTime }) => user === "carl" && authTime instanceof Date));
    const { entries } = await manager.core.store.applyStep("carl", { kind: StepKind.list });
    assert.ok(entries.every(({ state }) => state === EntryState.active));
    assert.equal(await manager.revoke(all[0].handle), true);
    assert.equal(await manager.revoke(all[0].handle), false);
    await assert.rejects(fetched(manager, all[0].sealedToken).set("a", 1), pazzo.GoneError);
    assert.equal(await manager.revokeAll("carl", [all[1].handle]), 1);
    assert.equal((await manager.sessions("carl")).length, 1);
    assert.equal(await manager.revokeAll("carl"), 1);
    assert.deepEqual(await manager.sessions("carl"), []);
    await assert.rejects(manager.revoke("xyz"), pazzo.OptionsError);
  });

  test("block and unblock", async () => {
    const session = await loggedIn("dora");
    await manager.block("dora");
    await assert.rejects(fetched(manager, session.sealedToken).set("a", 1), pazzo.GoneError);
    await assert.rejects(loggedIn("dora"), pazzo.BlockedError);
    await manager.unblock("dora");
    assert.equal(await (await loggedIn("dora")).authenticatedUser(), "dora");
  });

  test("the cap evicts the oldest, or refuses", async () => {
    const evicting = make({ maxPerUser: 2 });
    const first = await loggedIn("fay", evicting);
    await later();
    await loggedIn("fay", evicting);
    await later();
    await loggedIn("fay", evicting);
    await assert.rejects(fetched(manager, first.sealedToken).set("a", 1), pazzo.GoneError);
    assert.equal((await manager.sessions("fay")).length, 2);
    const refusing = make({ maxPerUser: 2, whenFull: "refuse" });
    await assert.rejects(loggedIn("fay", refusing), pazzo.TooManySessionsError);
  });

  test("many logins at once stay within the cap", async () => {
    const capped = make({ maxPerUser: 3 });
    await Promise.allSettled(Array.from({ length: 20 }, () => loggedIn("gil", capped)));
    assert.ok((await manager.sessions("gil")).length <= 3);
  });

  test("a login races a revocation: nobody stays logged in unlisted", async () => {
    for (let i = 0; i < 10; i++) {
      const sessions = [manager.acquire(), manager.acquire()];
      const logins = sessions.map((session) => session.authenticate("hal"));
      const outcomes = await Promise.allSettled([...logins, manager.revokeAll("hal")]);
      assert.equal(outcomes.at(-1).status, "fulfilled");
      const listed = (await manager.sessions("hal")).map(({ handle }) => handle);
      for (const session of sessions.filter(({ sealedToken }) => sealedToken)) {
        const alive = (await manager.acquire(session.sealedToken).authenticatedUser()) === "hal";
        assert.equal(alive, listed.includes(session.handle));
      }
    }
  });

  test("users that are none", async () => {
    for (const wrong of ["", "\ud800", 5]) {
      await assert.rejects(async () => loggedIn(wrong), pazzo.BatchError);
    }
    await assert.rejects(async () => loggedIn("u".repeat(1025)), pazzo.TooLargeError);
  });
}

describe("values", () => {
  const cases = [
    [null, "null"],
    [true, "true"],
    [1.5, "1.5"],
    [1e21, "1e+21"],
    [5e-324, "5e-324"],
    [9007199254740993n, "9007199254740993"],
    [-(2n ** 80n), "-1208925819614629174706176"],
    ["é<\u2028", '"é<\u2028"'],
    [{ b: 1, a: {} }, '{"b":1,"a":{}}'],
    [
      { deep: [{ n: 12345678901234567890n }, "12345678901234567890"] },
      '{"deep":[{"n":12345678901234567890},"12345678901234567890"]}',
    ],
  ];
  for (const [value, text] of cases) {
    test(`round trip of ${text.slice(0, 40)}`, () => {
      assert.equal(encode("f", value), text);
      const back = decode("f", Buffer.from(text));
      assert.deepEqual(back, value);
      assert.equal(typeof back, typeof value);
    });
  }
  test("whole numbers beyond 2^53 are exact", () => {
    const read = (text) => decode("f", Buffer.from(text));
    assert.equal(read("9007199254740991"), Number.MAX_SAFE_INTEGER);
    assert.equal(read("9007199254740992"), 2n ** 53n);
    assert.deepEqual(read('[1,{"a":-9007199254740993}]'), [1, { a: -9007199254740993n }]);
    assert.equal(read("1.2345678901234567"), 1.2345678901234567);
    assert.equal(read("1e3"), 1000);
  });
  test("what does not fit is refused, not rounded, and not quoted", () => {
    for (const text of ["1e400", "9007199254740993.0", "[90071992547409931e1]", "{", "NaN", ""]) {
      assert.throws(
        () => decode("f", Buffer.from(text)),
        (error) => error instanceof pazzo.DecodeError && !(text && error.message.includes(text)),
        text,
      );
    }
    assert.throws(() => decode("f", Buffer.from([0x22, 0xff, 0x22])), pazzo.DecodeError);
  });
  test("what has no JSON form names its field", () => {
    const loop = [];
    loop.push(loop);
    for (const wrong of [
      new Set(),
      new Map(),
      /x/,
      Symbol("x"),
      loop,
      new Uint8Array(1),
      new Error("x"),
    ]) {
      assert.throws(() => encode("cart", wrong), /cart/);
    }
    assert.equal(encode("f", -0), "0");
    assert.equal(encode("f", { a: undefined, b: 1 }), '{"b":1}');
  });
});

test("nothing shows a secret", () => {
  const manager = new pazzo.Manager("redis://u:pass@localhost", { secretKeys: [KEY] });
  const session = manager.acquire();
  for (const shown of [inspect(manager, { depth: 9 }), inspect(session), JSON.stringify(manager)]) {
    assert.ok(!shown.includes(KEY) && !shown.includes("pass"), shown);
  }
});

test("a lock lets one caller in after another, in order, whatever becomes of them", async () => {
  const lock = new Lock();
  const steps = [];
  const work = (n) => async () => {
    steps.push(`in ${n}`);
    await null;
    steps.push(`out ${n}`);
    if (n === 1) {
      throw new Error("failed");
    }
    return n;
  };
  const all = await Promise.allSettled([0, 1, 2].map((n) => lock.run(work(n))));
  assert.deepEqual(
    all.map(({ value, reason }) => value ?? reason.message),
    [0, "failed", 2],
  );
  assert.equal(await lock.run(work(3)), 3);
  assert.deepEqual(
    steps,
    [0, 1, 2, 3].flatMap((n) => [`in ${n}`, `out ${n}`]),
  );
});
