// Under Express: every documented behaviour of express-session's req.session, and Passport.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { after, before, describe, test } from "node:test";
import express from "express";
import passport from "passport";
import { Strategy } from "passport-local";
import * as pazzo from "pazzo";
import { WebSocketServer } from "ws";
import { checkDown, checkSocket, Stream, talk } from "./scenarios.mjs";
import { KEY, Redis } from "./servers.mjs";

let redis;
let manager;
const servers = [];
before(async () => {
  redis = await Redis.start();
  manager = new pazzo.Manager(redis.url, { secretKeys: [KEY] });
});
after(async () => {
  for (const server of servers) {
    server.close();
  }
  await manager.close();
  await redis.close();
});

/** Serves an app, with a manager of its own or ours. */
async function serve(setUp, options, own = manager) {
  const app = express();
  app.use(pazzo.middleware(own, options));
  setUp(app);
  app.use((error, _req, res, _next) => res.status(error.status ?? 500).send(error.name));
  const server = app.listen(0, "127.0.0.1");
  await once(server, "listening");
  servers.push(server);
  return server;
}

/** Serves an app; returns a browser's way to it, which keeps its cookie. */
async function browse(setUp, options) {
  const server = await serve(setUp, options);
  const jar = { cookie: "", lines: [] };
  const get = async (path) => {
    const headers = { "sec-fetch-mode": "cors", ...(jar.cookie ? { cookie: jar.cookie } : {}) };
    const { port } = server.address();
    const [res] = await once(http.get({ port, path, headers, agent: false }), "response");
    const body = Buffer.concat(await res.toArray()).toString();
    jar.lines = res.headers["set-cookie"] ?? [];
    for (const line of jar.lines) {
      jar.cookie = line.includes("Max-Age=0") ? "" : line.split(";")[0];
    }
    return body;
  };
  get.jar = jar;
  return get;
}

/** Serves one handler for every path. */
const one = (handler, options) => browse((app) => app.use(handler), options);

describe("req.session", () => {
  test("request and response keep their own properties", async () => {
    const own = (req, res) => [
      ...Object.keys(req).map((name) => `req.${name}`),
      ...Object.keys(res).map((name) => `res.${name}`),
    ];
    const flags = (object, name) => {
      const { value, ...rest } = Object.getOwnPropertyDescriptor(object, name);
      return { ...rest, isObject: typeof value === "object" };
    };
    const app = express();
    app.use(async (req, res) => {
      const names = own(req, res);
      const { socket } = req;
      const kept = [flags(req, "socket"), flags(res, "req")];
      await new Promise((next) => pazzo.middleware(manager)(req, res, next));
      const now = new Set(own(req, res));
      const lost = names.filter((name) => !now.has(name));
      const same = req.socket === socket && res.req === req;
      assert.deepEqual([flags(req, "socket"), flags(res, "req")], kept);
      res.json({ lost, same });
    });
    const server = app.listen(0, "127.0.0.1");
    servers.push(server);
    await once(server, "listening");
    const res = await fetch(`http://127.0.0.1:${server.address().port}/`);
    assert.deepEqual(await res.json(), { lost: [], same: true });
  });

  test("stores and gives fields as properties", async () => {
    const get = await one((req, res) => {
      req.session.views = (req.session.views || 0) + 1;
      res.send(String(req.session.views));
    });
    assert.deepEqual([await get("/"), await get("/"), await get("/")], ["1", "2", "3"]);
  });

  test("stores nested objects, changed in place", async () => {
    const get = await one((req, res) => {
      req.session.user ??= { visits: [] };
      req.session.user.visits.push(req.path);
      res.json(req.session.user);
    });
    await get("/a");
    assert.equal(await get("/b"), '{"visits":["/a","/b"]}');
  });

  test("removes a property that is deleted", async () => {
    const get = await one((req, res) => {
      if (req.path === "/set") {
        req.session.a = req.session.b = 1;
      } else if (req.path === "/delete") {
        delete req.session.a;
      }
      res.json({ ...req.session.data, has: "a" in req.session, keys: Object.keys(req.session) });
    });
    await get("/set");
    await get("/delete");
    assert.equal(await get("/"), '{"b":1,"has":false,"keys":["b"]}');
  });

  test("data and properties are the same fields; methods hide no field of data", async () => {
    const get = await one((req, res) => {
      req.session.data.get = "a field";
      req.session.data.x = 1;
      assert.equal(typeof req.session.get, "function");
      assert.throws(() => {
        req.session.id = "another";
      }, TypeError);
      res.json([req.session.x, req.session.data.get]);
    });
    assert.equal(await get("/"), '[1,"a field"]');
  });

  test("is written only on condition that the field is what was read", async () => {
    const get = await one(async (req, res) => {
      if (req.path === "/race") {
        const other = manager.acquire(req.session.sealedToken);
        await other.set("n", 100);
        await other.set("elsewhere", 1);
      }
      req.session.n = (req.session.n ?? 0) + 1;
      res.send("sent");
    });
    await get("/");
    assert.equal(await get("/race"), "StaleFieldError");
  });

  test("write-through: set, get, getAll, add, update, pop, delete, append, drain, atomically", async () => {
    const get = await one(async (req, res) => {
      const { session } = req;
      await session.set("a", 1);
      await session.add("a", 2);
      await session.update("b", (b = 0) => b + 5);
      await session.append("list", 1);
      await session.atomically((tx) => tx.set("c", tx.get("a") + tx.get("b")));
      const got = [await session.get("c"), await session.drain("list"), await session.pop("b")];
      await session.delete("a");
      res.json([got, await session.getAll(), session.data]);
    });
    assert.equal(await get("/"), '[[8,[1],5],{"c":8},{"c":8}]');
  });

  test("regenerate(callback): a new id and Session at req.session, the old one is gone", async () => {
    const get = await one((req, res, next) => {
      const { session, sessionID } = req;
      if (req.path === "/set") {
        session.a = 1;
        return res.send(session.id);
      }
      const chained = session.regenerate((error) => {
        if (error) {
          return next(error);
        }
        assert.notEqual(req.session, session);
        assert.notEqual(req.sessionID, sessionID);
        assert.equal(req.session.a, undefined);
        req.session.b = 2;
        res.json([req.session.id, req.session.data]);
      });
      assert.equal(chained, session);
    });
    const first = await get("/set");
    const { cookie } = get.jar;
    const [second, data] = JSON.parse(await get("/regenerate"));
    assert.notEqual(first, second);
    assert.deepEqual(data, { b: 2 });
    assert.notEqual(get.jar.cookie, cookie);
    const late = manager.acquire(cookie.split("=")[1]);
    assert.deepEqual(await late.getAll(), {});
  });

  test("destroy(callback): unsets req.session and deletes the cookie", async () => {
    const get = await one((req, res) => {
      if (req.path === "/destroy") {
        req.session.destroy((error) => res.json([error ?? null, req.session ?? null]));
        assert.equal(req.session, undefined);
        return;
      }
      req.session.a ??= 1;
      res.json(req.session.data);
    });
    await get("/");
    assert.equal(await get("/destroy"), "[null,null]");
    assert.equal(get.jar.cookie, "");
  });

  test("a write in flight at logout does not bring the session back", async () => {
    let letGo;
    const get = await one(async (req, res) => {
      if (req.path === "/slow") {
        await new Promise((resolve) => {
          letGo = resolve;
        });
      }
      if (req.path === "/logout") {
        await req.session.destroy();
        return res.send("out");
      }
      req.session.n = (req.session.n ?? 0) + 1;
      return res.send("sent");
    });
    await get("/");
    const { cookie } = get.jar;
    const slow = get("/slow");
    while (!letGo) {
      await new Promise(setImmediate);
    }
    await get("/logout");
    letGo();
    assert.equal(await slow, "GoneError");
    assert.deepEqual(await manager.acquire(cookie.split("=")[1]).getAll(), {});
  });

  test("reload(callback): the data of the store in a new Session, the id stays", async () => {
    const get = await one(async (req, res, next) => {
      req.session.a ??= 1;
      await req.session.save();
      const { session, sessionID } = req;
      session.a = "changed";
      await manager.acquire(session.sealedToken).set("b", 2);
      session.reload((error) => {
        assert.notEqual(req.session, session);
        assert.equal(req.sessionID, sessionID);
        return error ? next(error) : res.json(req.session.data);
      });
    });
    assert.equal(await get("/"), '{"a":1,"b":2}');
    const gone = await one((req, res) => {
      req.session.reload((error) => res.send(error?.name));
    });
    assert.equal(await gone("/"), "NoSessionError");
  });

  test("save(callback): is in the store before the response", async () => {
    const get = await one((req, res, next) => {
      req.session.a = 1;
      const { session } = req;
      const chained = session.save(async (error) => {
        const all = await manager.acquire(session.sealedToken).getAll();
        return error ? next(error) : res.json(all);
      });
      assert.equal(chained, session);
    });
    assert.equal(await get("/"), '{"a":1}');
  });

  test("save() without a callback is a promise; nothing to save makes no session", async () => {
    const get = await one(async (req, res) => {
      assert.equal(await req.session.save(), undefined);
      res.send(String(req.session.handle));
    });
    assert.equal(await get("/"), "undefined");
    assert.deepEqual(get.jar.lines, []);
  });

  test("a callback gets the error", async () => {
    const get = await one((req, res) => {
      req.session.a = () => 1;
      req.session.save((error) => {
        delete req.session.a;
        res.send(error.name);
      });
    });
    assert.equal(await get("/"), "EncodeError");
  });

  test("touch(): updates maxAge, and can be chained", async () => {
    const get = await one((req, res) => {
      req.session.a = 1;
      req.session.cookie.maxAge = 10_000;
      const then = req.session.cookie.expires.getTime();
      while (Date.now() <= then - 10_000);
      assert.equal(req.session.touch(), req.session);
      res.send(String(req.session.cookie.expires.getTime() > then));
    });
    assert.equal(await get("/"), "true");
  });

  test("id and req.sessionID are the same, stay over requests, and are no secret", async () => {
    const get = await one((req, res) => {
      req.session.a = 1;
      assert.equal(req.session.id, req.sessionID);
      assert.equal(req.sessionStore, manager);
      res.send(req.sessionID);
    });
    const first = await get("/");
    assert.match(first, /^[0-9a-f]{32}$/);
    assert.equal(await get("/"), first);
    assert.ok(!get.jar.cookie.includes(first));
  });

  test("cookie: attributes", async () => {
    const get = await one((req, res) => res.json(req.session.cookie));
    assert.deepEqual(JSON.parse(await get("/")), {
      originalMaxAge: null,
      path: "/",
      httpOnly: true,
      secure: true,
      sameSite: "lax",
    });
  });

  test("cookie.maxAge, cookie.expires and cookie.originalMaxAge", async () => {
    const get = await one((req, res) => {
      const { cookie } = req.session;
      if (req.path === "/max-age") {
        req.session.a = 1;
        cookie.maxAge = 3_600_000;
        assert.equal(cookie.originalMaxAge, 3_600_000);
      } else if (req.path === "/expires") {
        cookie.expires = new Date(Date.now() + 60_000);
        assert.ok(Math.abs(cookie.originalMaxAge - 60_000) < 100);
      } else if (req.path === "/session") {
        cookie.expires = false;
        assert.equal(cookie.maxAge, null);
        assert.equal(cookie.originalMaxAge, null);
      }
      res.json([cookie.maxAge, cookie.expires]);
    });
    await get("/max-age");
    const [, maxAge] = /Max-Age=([0-9]+)/.exec(get.jar.lines[0]);
    assert.ok(maxAge >= 3599 && maxAge <= 3600);
    const [left, expires] = JSON.parse(await get("/"));
    assert.ok(left > 3_590_000 && left <= 3_600_000);
    assert.ok(new Date(expires) > new Date());
    const session = manager.acquire(get.jar.cookie.split("=")[1]);
    assert.equal((await session.info()).idle, 3600);
    await get("/expires");
    assert.match(get.jar.lines[0], /Max-Age=(59|60);/);
    await get("/session");
    assert.doesNotMatch(get.jar.lines[0], /Max-Age/);
    assert.equal(await get("/"), "[null,null]");
    const wrong = await one((req) => {
      req.session.cookie.maxAge = "soon";
    });
    assert.equal(await wrong("/"), "TypeError");
  });

  test("is left alone if another middleware has set it", async () => {
    const get = await browse((app) => {
      app.use((req, _, next) => {
        req.mine = req.session;
        next();
      });
      app.use(pazzo.middleware(manager));
      app.use((req, res) => res.send(String(req.mine === req.session)));
    });
    assert.equal(await get("/"), "true");
  });

  test("a redirect, a file, an error and a 304 carry the cookie", async () => {
    for (const send of [
      (res) => res.redirect("/x"),
      (res) => res.sendFile(new URL(import.meta.url).pathname),
      (res) => res.status(500).json({}),
      (res) => res.status(304).end(),
    ]) {
      const get = await one((req, res) => {
        req.session.a = 1;
        send(res);
      });
      await get("/");
      assert.equal(get.jar.lines.length, 1);
    }
  });

  test("overlapping requests lose nothing of different fields", async () => {
    const get = await one((req, res) => {
      req.session[req.path.slice(1)] = true;
      setTimeout(() => res.json(req.session.data), 5);
    });
    await get("/start");
    await Promise.all(Array.from({ length: 50 }, (_, i) => get(`/f${i}`)));
    assert.equal(Object.keys(JSON.parse(await get("/end"))).length, 52);
  });
});

test("streams: the cookie goes first, writes take effect while it goes on", async () => {
  const stream = new Stream();
  const server = await serve((app) => {
    app.get("/events", async (req, res) => {
      await req.session.add("n");
      res.type("text/event-stream");
      for await (const event of stream.events(req.session)) {
        res.write(event);
      }
      res.end();
    });
  });
  await stream.check(server.address().port, "/events", manager);
});

test("a WebSocket of ws has the session of its upgrade", async () => {
  const server = await serve(() => {});
  const sockets = new WebSocketServer({ noServer: true });
  sockets.on("connection", (socket, req) => talk(socket, pazzo.sessionOf(req)));
  server.on("upgrade", async (req, socket, head) => {
    await pazzo.upgrade(manager, req);
    sockets.handleUpgrade(req, socket, head, (ws) => sockets.emit("connection", ws, req));
  });
  await checkSocket(server.address().port, "/", manager);
});

for (const data of [true, false]) {
  describe(`data: ${data}`, () => {
    test("a store that is down is an error in time, not an empty session", async () => {
      await checkDown(async (own) => {
        const setUp = (app) =>
          app.get("/", async (req, res) => res.json(await req.session.add("n")));
        return (await serve(setUp, { data }, own)).address().port;
      });
    });
  });
}

describe("Passport's local strategy", () => {
  async function app(serialize = (user) => user.id, options = {}) {
    const auth = new passport.Passport();
    auth.use(
      new Strategy({ usernameField: "user", passwordField: "pw" }, (user, pw, done) =>
        done(null, pw === "right" ? { id: user } : false),
      ),
    );
    auth.serializeUser((user, done) => done(null, serialize(user)));
    auth.deserializeUser((id, done) => done(null, { id }));
    return browse((express) => {
      express.use(auth.session());
      express.get("/cart", (req, res) => {
        req.session.cart = ["book"];
        res.send("put");
      });
      express.get("/login", auth.authenticate("local", options), (req, res) =>
        res.send(req.user.id),
      );
      express.get("/logout", (req, res, next) => {
        req.logout(options, (error) => (error ? next(error) : res.send("out")));
      });
      express.get("/me", async (req, res) => {
        const known = req.user ? String(req.user.id) : "nobody";
        res.json([known, await req.session.authenticatedUser(), req.session.cart ?? null]);
      });
    });
  }

  test("logs in and out; other languages see who it is", async () => {
    const get = await app();
    await get("/cart");
    const { cookie: before } = get.jar;
    assert.equal(await get("/login?user=ann&pw=wrong"), "Unauthorized");
    assert.equal(await get("/me"), '["nobody","",["book"]]');
    assert.equal(await get("/login?user=ann&pw=right"), "ann");
    assert.notEqual(get.jar.cookie, before);
    assert.equal(await get("/me"), '["ann","ann",null]');
    assert.equal((await manager.sessions("ann")).length, 1);
    const { cookie } = get.jar;
    assert.equal(await get("/logout"), "out");
    assert.equal(await get("/me"), '["nobody","",null]');
    assert.deepEqual(await manager.sessions("ann"), []);
    get.jar.cookie = cookie;
    assert.equal(await get("/me"), '["nobody","",null]');
  });

  test("keepSessionInfo keeps the fields", async () => {
    const get = await app(undefined, { keepSessionInfo: true });
    await get("/cart");
    await get("/login?user=bob&pw=right");
    assert.equal(await get("/me"), '["bob","bob",["book"]]');
  });

  test("another user's login replaces the session", async () => {
    const get = await app();
    await get("/login?user=carl&pw=right");
    await get("/cart");
    await get("/login?user=dora&pw=right");
    assert.equal(await get("/me"), '["dora","dora",null]');
    assert.deepEqual(await manager.sessions("carl"), []);
  });

  test("a login with the cookie from before another login begins anew", async () => {
    const get = await app();
    await get("/cart");
    const { cookie } = get.jar;
    const first = manager.acquire(cookie.split("=")[1]);
    await first.authenticate("gil"); // whose response was lost
    get.jar.cookie = cookie;
    assert.equal(await get("/login?user=gil&pw=right"), "gil");
    assert.equal(await get("/me"), '["gil","gil",null]');
    assert.equal((await manager.sessions("gil")).length, 2);
  });

  test("a user that is no text stays in the field alone", async () => {
    const get = await app((user) => ({ name: user.id }));
    await get("/login?user=eve&pw=right");
    assert.equal(await get("/me"), '["[object Object]","",null]');
  });

  test("a revoked login is over at once", async () => {
    const get = await app();
    await get("/login?user=fay&pw=right");
    assert.equal(await manager.revokeAll("fay"), 1);
    assert.equal(await get("/me"), '["nobody","",null]');
  });
});
