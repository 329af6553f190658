// A store that fails is an error, never an empty session, and no write is sent twice.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import * as pazzo from "pazzo";
import { Agent, freePort, KEY, Redis, Relay } from "./servers.mjs";

let redis;
let proxy;
const managers = [];
before(async () => {
  redis = await Redis.start();
});
after(() => redis.close());
afterEach(async () => {
  await Promise.all(managers.splice(0).map((manager) => manager.close()));
  proxy?.close();
  proxy = undefined;
});

function make(url = redis.url) {
  managers.push(new pazzo.Manager(url, { secretKeys: [KEY] }));
  return managers.at(-1);
}

/** A session behind a proxy, with its connection made and the scripts known. */
async function behindProxy(parameters = "") {
  proxy = await Relay.start(redis.port);
  const manager = make(proxy.url + parameters);
  const session = manager.acquire();
  await session.set("a", 1);
  assert.equal(await session.get("a"), 1);
  return { manager, session };
}

const someToken = (manager) =>
  manager.core.keys.seal({ handle: Buffer.alloc(16), generation: 1, secret: Buffer.alloc(16) });

test("no server", async () => {
  const manager = make(`redis://127.0.0.1:${await freePort()}`);
  const calls = [
    (s) => s.get("a"),
    (s) => s.getAll(),
    (s) => s.add("n"),
    (s) => s.info(),
    (s) => s.authenticate("ann"),
    (s) => s.destroy(),
  ];
  for (const call of calls) {
    await assert.rejects(call(manager.acquire(someToken(manager))), pazzo.UnavailableError);
  }
});

test("a server that goes and comes back", async () => {
  const own = await Redis.start();
  const manager = make(own.url);
  const session = manager.acquire();
  await session.set("a", 1);
  await own.stop();
  await assert.rejects(session.get("a"), pazzo.UnavailableError);
  await assert.rejects(session.add("n"), pazzo.UnavailableError);
  await own.run();
  const fresh = manager.acquire();
  assert.equal(await fresh.add("n"), 1);
  await own.stop();
  await own.run(); // a restart between two calls is not noticed, scripts included
  assert.equal(await manager.acquire().add("n"), 1);
  await own.close();
});

test("SCRIPT FLUSH", async () => {
  const session = make().acquire();
  await redis.do(async (call) => {
    for (let n = 1; n <= 20; n++) {
      assert.equal(await session.add("n"), n);
      await call("SCRIPT", "FLUSH");
      await Promise.all([session.add("m"), session.append("list", n)]);
    }
  });
  assert.deepEqual([await session.get("m"), (await session.get("list")).length], [20, 20]);
});

test("a write whose reply is lost is not repeated: its outcome is unknown", async () => {
  const { session } = await behindProxy();
  await session.add("n");
  proxy.requests.length = 0;
  proxy.cutReplies = 1;
  await assert.rejects(session.add("n"), (error) => {
    assert.ok(error instanceof pazzo.OutcomeUnknownError && error.status === 503);
    return true;
  });
  assert.equal(await session.get("n"), 2); // it was executed, once
  const sent = Buffer.concat(proxy.requests).toString("latin1");
  assert.equal(sent.match(/EVAL/g).length, 1);
});

test("of writes in flight when the connection is cut, none is repeated", async () => {
  const { session } = await behindProxy();
  const release = proxy.holdReplies();
  const writes = Array.from({ length: 20 }, () => session.add("n"));
  await new Promise((resolve) => setTimeout(resolve, 50));
  proxy.cutReplies = 100;
  release();
  for (const { status, reason } of await Promise.allSettled(writes)) {
    assert.ok(status === "rejected" && reason instanceof pazzo.OutcomeUnknownError, reason);
  }
  proxy.cutReplies = 0;
  assert.equal(await session.get("n"), 20); // each was executed once
});

test("a read is repeated once", async () => {
  const { session } = await behindProxy();
  proxy.cutReplies = 1;
  assert.equal(await session.get("a"), 1);
});

test("a slow server times out, and is used again afterwards", async () => {
  const { session } = await behindProxy("?timeout=200ms");
  const release = proxy.holdReplies();
  const begin = performance.now();
  await assert.rejects(session.add("n"), /within 200 ms/);
  await assert.rejects(session.add("n"), pazzo.StoreError);
  await assert.rejects(session.get("a"), pazzo.UnavailableError);
  assert.ok(performance.now() - begin < 5000);
  release();
  assert.equal(await session.get("a"), 1);
});

test("a black hole: a server that accepts and never answers", async () => {
  const { createServer } = await import("node:net");
  const hole = createServer(() => {}).listen(0, "127.0.0.1");
  await new Promise((resolve) => hole.once("listening", resolve));
  const manager = make(`redis://127.0.0.1:${hole.address().port}?timeout=200ms`);
  const session = manager.acquire(someToken(manager));
  // The handshake needs an answer where there is a database to choose; else the first call does.
  await assert.rejects(session.add("n"), pazzo.StoreError);
  await assert.rejects(session.get("n"), pazzo.UnavailableError);
  await manager.close();
  hole.close();
});

test("an answer to somebody else is refused", async () => {
  const { manager, session: one } = await behindProxy();
  const two = manager.acquire();
  await two.set("a", "two");
  const [mine, other] = [one, two].map((s) => manager.core.keys.open(s.sealedToken).token);
  const swap = (chunk, from, to) => {
    for (let at = chunk.indexOf(from); at >= 0; at = chunk.indexOf(from, at + 1)) {
      to.copy(chunk, at);
    }
    return chunk;
  };
  proxy.change = (chunk) => swap(chunk, mine.handle, other.handle);
  await assert.rejects(one.add("n"), pazzo.OutcomeUnknownError);
  proxy.change = (chunk) => swap(swap(chunk, mine.secret, other.secret), mine.handle, other.handle);
  await assert.rejects(one.get("a"), pazzo.UnavailableError);
  proxy.change = (chunk) => chunk;
  assert.deepEqual([await one.get("a"), await two.get("a")], [1, "two"]);
});

for (const rubbish of [
  "*1\r\n$1\r\nx\r\n",
  "+OK\r\n",
  ":1\r\n",
  "$3\r\nabc\r\n",
  "?\r\n",
  "$-1\r\n",
]) {
  test(`rubbish: ${JSON.stringify(rubbish)}`, async () => {
    const { session } = await behindProxy("?timeout=300ms");
    proxy.change = () => Buffer.from(rubbish);
    await assert.rejects(session.set("a", 2), pazzo.OutcomeUnknownError);
    await assert.rejects(session.get("a"), pazzo.UnavailableError);
    proxy.change = (chunk) => chunk;
    assert.equal(await session.get("a"), 2);
  });
}

test("a full server", async () => {
  const own = await Redis.start();
  const session = make(own.url).acquire();
  await session.set("a", 1);
  await own.do((call) => call("CONFIG", "SET", "maxmemory", "1mb"));
  await assert.rejects(session.set("b", "x".repeat(1000)), pazzo.FullError);
  assert.deepEqual(await session.getAll(), { a: 1 });
  await own.close();
});

test("a server that may evict: revokeAll, block and the cap are refused", async () => {
  const own = await Redis.start("--maxmemory-policy", "allkeys-lru");
  const manager = make(own.url);
  await assert.rejects(manager.revokeAll("ann"), pazzo.MayEvictError);
  await assert.rejects(manager.block("ann"), pazzo.MayEvictError);
  const brave = new pazzo.Manager(own.url, { secretKeys: [KEY], bestEffortUsers: true });
  managers.push(brave);
  assert.equal(await brave.revokeAll("ann"), 0);
  await own.close();
});

test("a replica is not taken for the primary", async () => {
  const own = await Redis.start();
  const manager = make(own.url);
  const session = manager.acquire();
  await session.set("a", 1);
  await own.do((call) => call("REPLICAOF", "127.0.0.1", "1"));
  await assert.rejects(session.add("n"), pazzo.UnavailableError);
  await assert.rejects(session.get("a"), pazzo.UnavailableError);
  await own.do((call) => call("REPLICAOF", "NO", "ONE"));
  assert.equal(await session.get("a"), 1);
  await own.close();
});

test("a key of another kind", async () => {
  const session = make().acquire();
  await session.set("a", 1);
  await redis.do(async (call) => {
    await call("SET", `pazzo:{${session.handle}}`, "something else");
    await assert.rejects(session.get("a"), pazzo.CorruptError);
    await assert.rejects(session.add("n"), pazzo.CorruptError);
    await call("DEL", `pazzo:{${session.handle}}`);
  });
});

test("passwords: wrong ones are errors, which do not show them", async () => {
  await redis.do((call) => call("ACL", "SETUSER", "app", "on", ">right", "~p:*", "+@all"));
  const place = `127.0.0.1:${redis.port}/0`;
  assert.equal(await make(`redis://app:right@${place}?prefix=p:`).acquire().add("n"), 1);
  for (const url of [
    `redis://app:wrong@${place}?prefix=p:`,
    `redis://app:right@${place}?prefix=q:`,
  ]) {
    await assert.rejects(make(url).acquire().add("n"), (error) => {
      assert.ok(error instanceof pazzo.UnavailableError, String(error));
      return !/wrong@|right/.test(String(error.stack));
    });
  }
});

test("errors quote no arguments", async () => {
  const own = await Redis.start("--rename-command", "EVALSHA", "");
  const secret = ["TOP", "SECRET"].join("");
  await assert.rejects(make(own.url).acquire().set("a", secret), (error) => {
    assert.ok(error instanceof pazzo.UnavailableError && /unknown command/.test(error.message));
    return (
      !error.message.includes("with args") &&
      !error.message.includes(secret) &&
      !String(error.stack).includes(secret)
    );
  });
  await own.close();
});

for (const Server of [Redis, Agent]) {
  test(`the socket of ${Server.name}, and databases`, async () => {
    const server = await Server.start();
    try {
      const session = make(`unix://${server.socket}?db=3`).acquire();
      assert.equal(await session.add("n"), 1);
      const elsewhere = make(`unix://${server.socket}`).acquire(session.sealedToken);
      assert.equal(await elsewhere.get("n"), undefined);
    } finally {
      await server.close();
    }
  });
}

test("a closed manager connects anew", async () => {
  const manager = make();
  const session = manager.acquire();
  await session.set("a", 1);
  await manager.close();
  assert.equal(await session.get("a"), 1);
});
