// The plugin for Fastify 5.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { Readable } from "node:stream";
import { after, before, test } from "node:test";
import websocket from "@fastify/websocket";
import fastify from "fastify";
import { Manager } from "pazzo";
import { pazzo } from "pazzo/fastify";
import { checkSocket, read, Stream, talk } from "./scenarios.mjs";
import { KEY, Redis } from "./servers.mjs";

let redis;
let manager;
const apps = [];
before(async () => {
  redis = await Redis.start();
  manager = new Manager(redis.url, { secretKeys: [KEY] });
});
after(async () => {
  await Promise.all(apps.map((app) => app.close()));
  await manager.close();
  await redis.close();
});

/** Serves an app. */
async function serve(setUp, options = {}) {
  const app = fastify();
  apps.push(app);
  await app.register(pazzo, { manager, ...options });
  await setUp(app);
  await app.listen({ port: 0, host: "127.0.0.1" });
  return app;
}

/** Serves an app; returns a browser's way to it, which keeps its cookie. */
async function browse(setUp, options) {
  const app = await serve(setUp, options);
  const jar = { cookie: "", lines: [], status: 0, headers: {} };
  const get = async (path) => {
    const headers = { "sec-fetch-mode": "cors", ...(jar.cookie ? { cookie: jar.cookie } : {}) };
    const { port } = app.server.address();
    const [res] = await once(http.get({ port, path, headers, agent: false }), "response");
    const body = Buffer.concat(await res.toArray()).toString();
    jar.status = res.statusCode;
    jar.headers = res.headers;
    jar.lines = res.headers["set-cookie"] ?? [];
    for (const line of jar.lines) {
      jar.cookie = line.includes("Max-Age=0") ? "" : line.split(";")[0];
    }
    return body;
  };
  get.jar = jar;
  return get;
}

test("request.session: write-through and data", async () => {
  const get = await browse((app) => {
    app.get("/inc", async (request) => String(await request.session.add("n")));
    app.get("/data", async (request) => {
      request.session.data.list = [...(request.session.data.list ?? []), 1];
      return request.session.data;
    });
    app.get("/id", async (request) => [request.sessionID, request.session.handle]);
  });
  assert.equal(await get("/inc"), "1");
  assert.match(get.jar.lines[0], /^__Host-session=.{64}; Path=\/; HttpOnly; Secure; SameSite=Lax$/);
  assert.equal(get.jar.headers["cache-control"], "no-store");
  assert.equal(get.jar.headers.vary, "Cookie");
  await get("/data");
  assert.equal(await get("/data"), '{"n":1,"list":[1,1]}');
  assert.deepEqual(get.jar.lines, []);
  const [id, handle] = JSON.parse(await get("/id"));
  assert.equal(id, handle);
});

test("login, renewal, logout", async () => {
  const get = await browse((app) => {
    app.get("/login", async (request) => {
      await request.session.set("a", 1);
      await request.session.authenticate("ann");
      return request.session.authenticatedUser();
    });
    app.get("/logout", async (request) => {
      await request.session.destroy();
      return String(request.session);
    });
    app.get("/set", async (request) => request.session.set("a", 1));
    app.get("/me", async (request) => [await request.session.authenticatedUser()]);
  });
  assert.equal(await get("/login"), "ann");
  const { cookie } = get.jar;
  await get("/login");
  assert.notEqual(get.jar.cookie, cookie);
  assert.equal(await get("/logout"), "undefined");
  assert.equal(get.jar.cookie, "");
  get.jar.cookie = cookie;
  assert.equal(await get("/me"), '[""]');
  const { message } = JSON.parse(await get("/set")); // the error's status and its words
  assert.deepEqual([get.jar.status, message], [409, "the session has ended"]);
});

test("a login's cookie goes out with a 500", async () => {
  const app = await serve((app) => {
    app.get("/crash", async (request) => {
      await request.session.authenticate("bob");
      throw new Error("on purpose");
    });
  });
  const { status, token } = await read(app.server.address().port, "/crash");
  assert.equal(status, 500);
  assert.equal(await manager.acquire(token).authenticatedUser(), "bob");
});

test("streams: the cookie goes first, writes take effect while it goes on", async () => {
  const stream = new Stream();
  const app = await serve((app) => {
    app.get("/events", async (request, reply) => {
      await request.session.add("n");
      reply.type("text/event-stream");
      return reply.send(Readable.from(stream.events(request.session)));
    });
  });
  await stream.check(app.server.address().port, "/events", manager);
});

test("a WebSocket of @fastify/websocket has the session of its upgrade", async () => {
  for (const data of [true, false]) {
    const app = await serve(
      async (app) => {
        await app.register(websocket);
        app.get("/socket", { websocket: true }, (socket, request) => talk(socket, request.session));
      },
      { data },
    );
    await checkSocket(app.server.address().port, "/socket", manager);
  }
});

test("onSend hooks: those before and after the plugin's may use the session", async () => {
  const get = await browse((app) => {
    app.addHook("onSend", async (request, reply, payload) => {
      request.session.data.hook = (request.session.data.hook ?? 0) + 1;
      reply.header("x-hook", "1");
      return payload;
    });
    app.register(async (child) => {
      child.addHook("onSend", async (request) => request.session.set("child", true));
      child.get("/child", async (request) => request.session.data);
    });
    app.get("/stream", async (_, reply) => {
      return reply.send(Readable.from(["a", "b"]));
    });
  });
  await get("/stream");
  assert.equal(get.jar.headers["x-hook"], "1");
  assert.equal(get.jar.lines.length, 1);
  await get("/missing"); // the 404 handler
  assert.equal(await get("/child"), '{"hook":2}');
  assert.equal(await get("/child"), '{"hook":3,"child":true}');
});

test("a field written elsewhere meanwhile goes to the error handler, once", async () => {
  const seen = [];
  const get = await browse((app) => {
    app.setErrorHandler((error, _, reply) => {
      seen.push(error.name);
      return reply.status(error.statusCode).send("told");
    });
    app.get("/race", async (request) => {
      const { session } = request;
      session.data.n = (session.data.n ?? 0) + 1;
      if (session.data.n > 1) {
        await manager.acquire(session.sealedToken).set("n", 100);
      }
      return "fine";
    });
    app.get("/bad", async (request) => {
      request.session.data.n = () => 1;
      return "fine";
    });
  });
  assert.equal(await get("/race"), "fine");
  assert.equal(await get("/race"), "told");
  assert.equal(get.jar.status, 409);
  assert.equal(await get("/bad"), "told");
  assert.equal(get.jar.status, 400);
  assert.deepEqual(seen, ["StaleFieldError", "EncodeError"]);
});

test("a store that is down is an error, not an empty session", async () => {
  const down = new Manager("redis://127.0.0.1:1", { secretKeys: [KEY] });
  const get = await browse((app) => app.get("/", async () => "fine"), { manager: down });
  get.jar.cookie = `__Host-session=${"A".repeat(64)}`; // forged: never reaches the store
  assert.equal(await get("/"), "fine");
  const token = { handle: Buffer.alloc(16), generation: 1, secret: Buffer.alloc(16) };
  get.jar.cookie = `__Host-session=${down.core.keys.seal(token)}`;
  await get("/");
  assert.equal(get.jar.status, 503);
});

test("inject", async () => {
  const app = fastify();
  apps.push(app);
  await app.register(pazzo, { manager, data: false });
  app.get("/", async (request) => String(await request.session.add("n")));
  const first = await app.inject("/");
  assert.equal(first.body, "1");
  const [{ name, value, httpOnly }] = first.cookies;
  assert.ok(httpOnly);
  assert.equal((await app.inject({ url: "/", cookies: { [name]: value } })).body, "2");
});
