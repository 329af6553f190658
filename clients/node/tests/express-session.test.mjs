// The store for express-session: each method and event of its documented contract, and the
// middleware of express-session over it.

import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import http from "node:http";
import { after, before, beforeEach, describe, test } from "node:test";
import { promisify } from "node:util";
import express from "express";
import session from "express-session";
import { GoneError, Manager, UnavailableError } from "pazzo";
import { PazzoStore } from "pazzo/express-session";
import { Agent, KEY, Redis, until } from "./servers.mjs";

let redis;
let manager;
let store;
let call;
before(async () => {
  redis = await Redis.start();
});
after(() => redis.close());
beforeEach(async () => {
  store?.close();
  await manager?.close();
  await redis.do((command) => command("FLUSHALL"));
  manager = new Manager(redis.url, { secretKeys: [KEY] });
  store = new PazzoStore(manager);
  call = (name, ...args) => promisify(store[name].bind(store))(...args);
});
after(async () => {
  store.close();
  await manager.close();
});

const cookie = { originalMaxAge: null, expires: null, httpOnly: true, path: "/" };
const ttl = (sid) =>
  redis.do(async (command) => {
    const [key] = await command("KEYS", "pazzo:{*}");
    return key ? command("PTTL", key) : sid && -2;
  });

describe("the contract of a store", () => {
  test("is an EventEmitter and a Store", () => {
    assert.ok(store instanceof EventEmitter);
    assert.ok(store instanceof session.Store);
  });

  test("get(sid, callback): the session", async () => {
    await call("set", "a", { cookie, user: { name: "ann" }, n: 1 });
    assert.deepEqual(await call("get", "a"), { cookie, user: { name: "ann" }, n: 1 });
  });

  test("get(sid, callback): null, and no error, for one that is not there", async () => {
    assert.equal(await call("get", "none"), null);
  });

  test("set(sid, session, callback): makes and overwrites", async () => {
    await call("set", "a", { cookie, n: 1, old: true });
    await call("set", "a", { cookie, n: 2 });
    assert.deepEqual(await call("get", "a"), { cookie, n: 2 });
  });

  test("set: what was loaded is saved as what has changed, so that nothing is lost", async () => {
    await call("set", "a", { cookie, x: 0, y: 0, z: [1] });
    const [one, two] = [await call("get", "a"), await call("get", "a")];
    one.x = 1;
    two.y = 2;
    delete two.z;
    await Promise.all([call("set", "a", one), call("set", "a", two)]);
    assert.deepEqual(await call("get", "a"), { cookie, x: 1, y: 2 });
    one.x = 3; // a second save of the same object
    await call("set", "a", one);
    assert.deepEqual(await call("get", "a"), { cookie, x: 3, y: 2 });
  });

  test("set: one that was destroyed meanwhile is an error, and stays so", async () => {
    await call("set", "a", { cookie, n: 1 });
    const loaded = await call("get", "a");
    await call("destroy", "a");
    loaded.n = 2;
    await assert.rejects(call("set", "a", loaded), GoneError);
    await assert.rejects(call("set", "a", { cookie, n: 3 }), GoneError);
    assert.equal(await call("get", "a"), null);
  });

  test("set: a cookie that has expired destroys the session", async () => {
    await call("set", "a", { cookie });
    await call("set", "a", { cookie: { ...cookie, expires: new Date(Date.now() - 1) } });
    assert.equal(await call("get", "a"), null);
  });

  test("set: the age of the cookie is the session's", async () => {
    const expires = new Date(Date.now() + 5000);
    await call("set", "a", { cookie: { ...cookie, expires } });
    assert.ok((await ttl()) <= 5000);
    await call("destroy", "a");
    await redis.do((command) => command("FLUSHALL"));
    await call("set", "b", { cookie });
    assert.ok(Math.abs((await ttl()) - 3_600_000) < 5000); // the idle timeout
  });

  test("set: the id is not in the store", async () => {
    const sid = "a-secret-session-id";
    await call("set", sid, { cookie, n: 1 });
    const dump = await redis.do(async (command) => {
      const [key] = await command("KEYS", "*");
      return [key, ...(await command("HGETALL", key))].map(String).join();
    });
    assert.ok(!dump.includes(sid));
  });

  test("touch(sid, session, callback): has the time begin anew, without the data", async () => {
    const short = { cookie: { ...cookie, expires: new Date(Date.now() + 5000) }, n: 1 };
    await call("set", "a", short);
    const expires = new Date(Date.now() + 50_000);
    await call("touch", "a", { cookie: { ...cookie, expires }, n: 2 });
    assert.ok((await ttl()) > 45_000);
    const { n, cookie: saved } = await call("get", "a");
    assert.deepEqual([n, saved.expires], [1, expires.toISOString()]);
  });

  test("touch: does not bring a session back", async () => {
    await call("set", "a", { cookie });
    await call("destroy", "a");
    await call("touch", "a", { cookie });
    assert.equal(await call("get", "a"), null);
  });

  test("destroy(sid, callback)", async () => {
    await call("set", "a", { cookie });
    assert.equal(await call("destroy", "a"), undefined);
    assert.equal(await call("get", "a"), null);
    await call("destroy", "a"); // there is none any more
  });

  test("all(callback): an array of the sessions, of express-session only", async () => {
    await manager.acquire().set("n", 1);
    assert.deepEqual(await call("all"), []);
    await call("set", "a", { cookie, n: 1 });
    await call("set", "b", { cookie, n: 2 });
    const all = await call("all");
    assert.ok(Array.isArray(all));
    assert.deepEqual(all.map(({ n }) => n).sort(), [1, 2]);
  });

  test("length(callback): how many there are", async () => {
    assert.equal(await call("length"), 0);
    await call("set", "a", { cookie });
    await call("set", "b", { cookie });
    await call("destroy", "b");
    assert.equal(await call("length"), 1);
  });

  test("clear(callback): none is left, other apps' sessions are", async () => {
    const other = manager.acquire();
    await other.set("n", 1);
    await call("set", "a", { cookie });
    await call("clear");
    assert.equal(await call("length"), 0);
    assert.equal(await manager.acquire(other.sealedToken).get("n"), 1);
  });

  test("createSession(req, data): a Session, whose save sends what has changed", async () => {
    await call("set", "a", { cookie, x: 0, y: 0 });
    const request = { sessionID: "a", sessionStore: store };
    const created = store.createSession(request, await call("get", "a"));
    assert.ok(created instanceof session.Session && created.cookie instanceof session.Cookie);
    assert.equal(request.session, created);
    await call("set", "a", Object.assign(await call("get", "a"), { y: 1 }));
    created.x = 2;
    await promisify(created.save.bind(created))();
    assert.deepEqual(
      Object.entries(await call("get", "a"))
        .slice(-2)
        .sort(),
      [
        ["x", 2],
        ["y", 1],
      ],
    );
  });

  test("load(sid, callback), of the base class", async () => {
    await call("set", "a", { cookie, n: 1 });
    assert.equal((await call("load", "a")).n, 1);
    assert.equal(await call("load", "none"), undefined);
  });

  test("calls without a callback", async () => {
    store.set("a", { cookie, n: 1 });
    await until(async () => (await call("get", "a"))?.n === 1);
    store.touch("a", { cookie });
    store.destroy("a");
    await until(async () => (await call("get", "a")) === null);
    store.clear();
  });

  test("a callback that throws is not called twice, nor swallowed", async () => {
    const runners = process.rawListeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    const caught = once(process, "uncaughtException");
    let calls = 0;
    store.get("a", () => {
      calls++;
      throw new Error("the app's own");
    });
    const [error] = await caught;
    for (const listener of runners) {
      process.on("uncaughtException", listener);
    }
    assert.deepEqual([error.message, calls], ["the app's own", 1]);
  });
});

describe("events", () => {
  test("connect, then disconnect when the server goes, connect when it is back", async () => {
    const own = await Redis.start();
    const watched = new Manager(own.url, { secretKeys: [KEY] });
    const watching = new PazzoStore(watched);
    const events = [];
    watching.on("connect", () => events.push("connect"));
    watching.on("disconnect", () => events.push("disconnect"));
    await once(watching, "connect");
    await Promise.all([once(watching, "disconnect"), own.stop()]);
    await assert.rejects(promisify(watching.get.bind(watching))("a"), UnavailableError);
    await Promise.all([once(watching, "connect"), own.run()]);
    assert.equal(await promisify(watching.get.bind(watching))("a"), null);
    assert.deepEqual(events, ["connect", "disconnect", "connect"]);
    watching.close();
    await watched.close();
    await own.close();
  });
});

test("an agent stores sessions, and refuses to scan", async () => {
  const agent = await Agent.start();
  const over = new Manager(agent.url, { secretKeys: [KEY] });
  const sessions = new PazzoStore(over);
  const ask = (name, ...args) => promisify(sessions[name].bind(sessions))(...args);
  await ask("set", "a", { cookie, n: 1 });
  assert.equal((await ask("get", "a")).n, 1);
  await assert.rejects(ask("all"), UnavailableError);
  sessions.close();
  await over.close();
  await agent.close();
});

describe("express-session over it", () => {
  let server;
  let jar;
  async function serve(handler) {
    const app = express();
    app.use(session({ store, secret: KEY, resave: false, saveUninitialized: false }));
    app.use(handler);
    app.use((error, _req, res, next) =>
      res.headersSent ? next() : res.status(500).send(error.name),
    );
    server = app.listen(0, "127.0.0.1");
    await once(server, "listening");
    jar = "";
    return async (path, cookies = jar) => {
      const headers = cookies ? { cookie: cookies } : {};
      const { port } = server.address();
      const [res] = await once(http.get({ port, path, headers, agent: false }), "response");
      const body = Buffer.concat(await res.toArray()).toString();
      jar = res.headers["set-cookie"]?.[0].split(";")[0] ?? jar;
      return body;
    };
  }

  test("its own example, and no lost update of different fields", async () => {
    const get = await serve((req, res) => {
      const field = req.path.slice(1);
      req.session[field] = (req.session[field] ?? 0) + 1;
      setTimeout(() => res.json(req.session[field]), 5);
    });
    assert.equal(await get("/views"), "1");
    assert.equal(await get("/views"), "2");
    await Promise.all(Array.from({ length: 50 }, (_, i) => get(`/f${i}`)));
    const [saved] = await call("all");
    assert.equal(Object.keys(saved).length, 52);
    server.close();
  });

  test("regenerate, destroy, reload, save", async () => {
    const get = await serve((req, res, next) => {
      const ends = { "/regenerate": "regenerate", "/destroy": "destroy" };
      const done = (error) => (error ? next(error) : res.json(req.session ?? null));
      if (ends[req.path]) {
        return req.session[ends[req.path]](done);
      }
      if (req.path === "/save") {
        req.session.a = 1;
        return req.session.save((error) => (error ? next(error) : req.session.reload(done)));
      }
      return done();
    });
    assert.equal(JSON.parse(await get("/save")).a, 1);
    const before = jar;
    assert.equal(JSON.parse(await get("/regenerate")).a, undefined);
    assert.equal(JSON.parse(await get("/", before)).a, undefined);
    await get("/save");
    assert.equal(await get("/destroy"), "null");
    assert.equal(await call("length"), 0);
    server.close();
  });
});
