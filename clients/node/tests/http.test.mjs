// The middleware under node:http: cookies, tokens, headers, and when they go out.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import * as pazzo from "pazzo";
import { WebSocketServer } from "ws";
import { checkDown, checkSocket, checkStorm, Stream, talk } from "./scenarios.mjs";
import { KEY, Redis, Relay } from "./servers.mjs";

const FETCH = { "sec-fetch-mode": "cors", "sec-fetch-site": "same-origin" };
const NAVIGATION = { "sec-fetch-mode": "navigate", "sec-fetch-site": "none" };

let redis;
const managers = [];
const servers = [];
before(async () => {
  redis = await Redis.start();
});
after(async () => {
  for (const server of servers) {
    server.close();
  }
  await Promise.all(managers.map((manager) => manager.close()));
  await redis.close();
});

function make(options = {}) {
  managers.push(new pazzo.Manager(redis.url, { secretKeys: [KEY], ...options }));
  return managers.at(-1);
}

/** Serves an app. */
async function listen(app, manager, options) {
  const session = pazzo.middleware(manager, options);
  const server = http.createServer(async (req, res) => {
    try {
      await session(req, res);
      await app(req, res);
    } catch (error) {
      res.statusCode = error.status ?? 500;
      res.end(error.name);
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  servers.push(server);
  return server;
}

/** Serves an app, and returns what sends it a request. */
async function serve(app, manager = make(), options = {}) {
  const server = await listen(app, manager, options);
  return async (
    path,
    { token, headers = FETCH, name = manager.core.settings.cookie.name } = {},
  ) => {
    const cookie = [token ?? []]
      .flat()
      .map((each) => `${name}=${each}`)
      .join("; ");
    const { port } = server.address();
    const {
      status,
      headers: said,
      body,
    } = await request(port, path, {
      ...headers,
      ...(cookie ? { cookie } : {}),
    });
    const setCookies = said["set-cookie"] ?? [];
    const ours = setCookies.find((line) => line.startsWith(`${name}=`));
    return { status, headers: said, setCookies, ours, token: tokenIn(ours), body };
  };
}

/** Sends a request with these headers only, which fetch does not. */
async function request(port, path, headers) {
  const [res] = await once(http.get({ port, path, headers, agent: false }), "response");
  const chunks = await res.toArray();
  return { status: res.statusCode, headers: res.headers, body: Buffer.concat(chunks).toString() };
}

const someToken = (manager) =>
  manager.core.keys.seal({ handle: Buffer.alloc(16), generation: 1, secret: Buffer.alloc(16) });
const tokenIn = (line) => line?.split(";")[0].split("=")[1];
const json = (res, value) => res.end(JSON.stringify(value ?? null));

const routes = {
  "/inc": async (req, res) => json(res, await req.session.add("n")),
  "/get": async (req, res) => json(res, await req.session.get("n")),
  "/none": async (_, res) => res.end("none"),
  "/login": async (req, res) => {
    await req.session.authenticate("ann");
    res.end("in");
  },
  "/renew": async (req, res) => {
    await req.session.renew();
    res.statusCode = 500;
    res.end("renewed");
  },
  "/logout": async (req, res) => {
    await req.session.destroy();
    res.end("out");
  },
};
const app = (req, res) => routes[req.url.split("?")[0]](req, res);

describe("cookies", () => {
  test("the default cookie is set by the first write, once", async () => {
    const get = await serve(app);
    const first = await get("/inc");
    assert.equal(
      first.ours,
      `__Host-session=${first.token}; Path=/; HttpOnly; Secure; SameSite=Lax`,
    );
    assert.equal(first.headers["cache-control"], "no-store");
    assert.equal(first.headers.vary, "Cookie");
    const second = await get("/inc", { token: first.token });
    assert.deepEqual([second.body, second.ours], ["2", undefined]);
    assert.equal(second.headers.vary, "Cookie");
    assert.equal(second.headers["cache-control"], undefined);
  });

  test("a request that does not use the session says nothing of it", async () => {
    const get = await serve(app);
    const { setCookies, headers } = await get("/none", { token: (await get("/inc")).token });
    assert.deepEqual(setCookies, []);
    assert.equal(headers.vary, undefined);
  });

  test("reading sets no cookie", async () => {
    const get = await serve(app);
    const { ours, body } = await get("/get");
    assert.deepEqual([ours, body], [undefined, "null"]);
  });

  for (const [options, attributes] of [
    [{ insecureHttp: true }, "session=T; Path=/; HttpOnly; SameSite=Lax"],
    [
      { cookie: { domain: ".example.org" } },
      "__Secure-session=T; Path=/; Domain=example.org; HttpOnly; Secure; SameSite=Lax",
    ],
    [
      { cookie: { name: "sid", path: "/app", sameSite: "None", partitioned: true } },
      "sid=T; Path=/app; HttpOnly; Secure; SameSite=None; Partitioned",
    ],
    [
      { cookie: { persistent: true, sameSite: "Strict" }, timeouts: pazzo.AAL1 },
      "__Host-session=T; Path=/; Max-Age=2592000; HttpOnly; Secure; SameSite=Strict",
    ],
    [{ cookie: { httpOnly: false } }, "__Host-session=T; Path=/; Secure; SameSite=Lax"],
  ]) {
    test(`attributes ${attributes}`, async () => {
      const { ours, token } = await (await serve(app, make(options)))("/inc");
      assert.equal(ours, attributes.replace("=T;", `=${token};`));
    });
  }

  test("logout deletes the cookie with the same attributes", async () => {
    const get = await serve(app, make({ clearSiteData: true }));
    const { token } = await get("/inc");
    const out = await get("/logout", { token });
    assert.equal(out.ours, "__Host-session=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax");
    assert.equal(out.headers["clear-site-data"], '"cache", "storage"');
  });

  test("an unknown token is never adopted", async () => {
    const get = await serve(app);
    const foreign = await serve(app, make({ secretKeys: ["another key of at least 32 bytes!"] }));
    const forged = (await foreign("/inc")).token;
    const { body, token } = await get("/inc", { token: forged });
    assert.equal(body, "1");
    assert.ok(token && token !== forged);
  });

  test("the first live one of several cookies wins, three are tried", async () => {
    const get = await serve(app);
    const live = (await get("/inc")).token;
    const dead = [];
    for (let i = 0; i < 3; i++) {
      dead.push((await get("/inc")).token);
      await get("/logout", { token: dead[i] });
    }
    assert.equal((await get("/get", { token: ["rubbish", dead[0], live] })).body, "1");
    assert.equal((await get("/get", { token: [...dead, live] })).body, "null");
  });

  test("a token of an older key is signed anew", async () => {
    const [old, young] = ["o".repeat(32), "n".repeat(32)];
    const { token } = await (await serve(app, make({ secretKeys: [old] })))("/inc");
    const fresh = await (await serve(app, make({ secretKeys: [young, old] })))("/inc", { token });
    assert.equal(fresh.body, "2");
    const last = await serve(app, make({ secretKeys: [young] }));
    assert.equal((await last("/get", { token: fresh.token })).body, "2");
    assert.equal((await last("/get", { token })).body, "null");
  });
});

describe("tokens", () => {
  test("a superseded token: 409 from writes, reads find nothing, no cookie is said", async () => {
    const get = await serve(app);
    const { token: old } = await get("/inc");
    const login = await get("/login", { token: old });
    for (const [path, status] of [
      ["/inc", 409],
      ["/logout", 409],
      ["/get", 200],
    ]) {
      const late = await get(path, { token: old });
      assert.deepEqual([late.status, late.setCookies], [status, []], path);
    }
    assert.equal((await get("/get", { token: login.token })).body, "1");
  });

  test("an ended token: 409 from a page's writes, a navigation begins anew", async () => {
    const get = await serve(app);
    const { token } = await get("/inc");
    await get("/logout", { token });
    assert.deepEqual((await get("/inc", { token })).status, 409);
    assert.equal((await get("/get", { token })).body, "null");
    assert.equal((await get("/inc", { token, headers: NAVIGATION })).body, "1");
    assert.equal((await get("/inc", { token, headers: {} })).body, "1");
  });

  test("a renewal's cookie goes out with a 500, too", async () => {
    const get = await serve(app);
    const { token } = await get("/inc");
    const renewed = await get("/renew", { token });
    assert.equal(renewed.status, 500);
    assert.equal((await get("/get", { token: renewed.token })).body, "1");
  });

  test("createOnNavigation", async () => {
    const get = await serve(app, make({ createOnNavigation: true }));
    assert.equal((await get("/inc")).status, 403);
    assert.equal((await get("/inc", { headers: NAVIGATION })).status, 200);
  });

  test("rotation: whoever presents the former token gets the current one", async () => {
    const manager = make({ rotateEvery: 60 });
    const get = await serve(app, manager);
    const { token } = await get("/inc");
    await age(manager, token, 61);
    const all = await Promise.all(Array.from({ length: 10 }, () => get("/inc", { token })));
    const tokens = new Set(all.map((each) => each.token).filter(Boolean));
    assert.equal(tokens.size, 1);
    const [fresh] = tokens;
    assert.notEqual(fresh, token);
    assert.equal((await get("/inc", { token: fresh })).body, "12");
    assert.equal((await get("/inc", { token })).token, fresh);
  });

  test("a token that is only offered does not overwrite that of a login", async () => {
    const manager = make({ rotateEvery: 60 });
    const get = await serve(async (req, res) => {
      if (req.url === "/slow") {
        await req.session.get("n");
        const [{ handle }] = await Promise.all([req.session.info()]);
        assert.ok(handle);
        // Another request, with the token that this one offers, logs in.
        const other = manager.acquire(req.session.sealedToken);
        await other.authenticate("ann");
        return res.end("slow");
      }
      return app(req, res);
    }, manager);
    const { token } = await get("/inc");
    await age(manager, token, 61);
    assert.deepEqual((await get("/slow", { token })).setCookies, []);
  });

  /** Has the current generation of a token's session be so many seconds older. */
  async function age(manager, token, seconds) {
    const { handle } = manager.core.keys.open(token).token;
    const key = `pazzo:{${handle.toString("hex")}}`;
    await redis.do(async (call) => {
      const meta = await call("HGET", key, "\0m");
      meta.writeUIntBE(meta.readUIntBE(56, 6) - seconds * 1000, 56, 6);
      await call("HSET", key, "\0m", meta);
    });
  }
});

describe("headers", () => {
  test("ours are merged with the app's, however it sets them", async () => {
    const heads = [
      (res) =>
        res.writeHead(201, { "Set-Cookie": "a=1", Vary: "Accept", "Cache-Control": "public" }),
      (res) => res.writeHead(201, "Fine", ["Set-Cookie", "a=1", "Vary", "Accept"]),
      (res) =>
        res.writeHead(
          201,
          "Fine",
          [
            ["Set-Cookie", "a=1"],
            ["Vary", "Accept"],
          ].flat(),
        ),
      (res) => {
        res.setHeader("Set-Cookie", ["a=1"]);
        res.setHeader("Vary", "Accept");
        res.statusCode = 201;
        res.flushHeaders();
      },
    ];
    for (const head of heads) {
      const get = await serve(async (req, res) => {
        await req.session.set("a", 1);
        head(res);
        res.write("body");
        res.end();
      });
      const { status, headers, setCookies, ours, body } = await get("/");
      assert.equal(status, 201);
      assert.deepEqual(setCookies, ["a=1", ours]);
      assert.ok(ours);
      assert.equal(headers.vary, "Accept, Cookie");
      assert.equal(headers["cache-control"], "no-store");
      assert.equal(body, "body");
    }
  });

  test("data is saved before the headers go out, whatever sends them", async () => {
    const sends = [
      (res) => res.end("body"),
      (res) => res.end(Buffer.from("body"), () => {}),
      (res) => {
        res.write("bo");
        res.end("dy");
      },
      (res) => res.writeHead(200, { "Content-Length": 4 }).end("body"),
      async (res) => {
        res.flushHeaders();
        await pause(5);
        res.end("body");
      },
    ];
    for (const send of sends) {
      const get = await serve((req, res) => {
        if (req.url === "/get") {
          return res.end(JSON.stringify(req.session.data));
        }
        req.session.data.n = (req.session.data.n ?? 0) + 1;
        return send(res);
      });
      const { token, body } = await get("/");
      assert.equal(body, "body");
      assert.ok(token, "the cookie of a session that save makes");
      assert.equal((await get("/", { token })).body, "body");
      assert.equal((await get("/get", { token })).body, '{"n":2}');
    }
  });

  test("a held response counts as sent, and its writers wait", async () => {
    const seen = [];
    const get = await serve(async (req, res) => {
      req.session.data.a = 1;
      seen.push(res.headersSent, res.write("x".repeat(10)));
      seen.push(res.headersSent);
      await once(res, "drain");
      seen.push(await req.session.get("a"));
      res.end();
    });
    assert.equal((await get("/")).body, "x".repeat(10));
    assert.deepEqual(seen, [false, false, true, 1]);
  });

  test("a large stream passes a held response unchanged", async () => {
    const { Readable } = await import("node:stream");
    const get = await serve((req, res) => {
      req.session.data.a = 1;
      Readable.from(Array.from({ length: 200 }, () => "x".repeat(10_000))).pipe(res);
    });
    assert.equal((await get("/")).body.length, 2_000_000);
  });

  test("a field that was written elsewhere meanwhile: 409, and nothing of the app's response", async () => {
    const manager = make();
    const get = await serve(async (req, res) => {
      if (req.url === "/other") {
        return app({ ...req, url: "/get", session: req.session }, res);
      }
      const { n = 0 } = req.session.data;
      req.session.data.n = n + 1;
      if (req.url === "/race") {
        await manager.acquire(req.session.sealedToken).set("n", 100);
      }
      res.setHeader("Content-Type", "text/plain");
      return res.end("the app's");
    }, manager);
    const { token } = await get("/");
    const late = await get("/race", { token });
    assert.deepEqual([late.status, late.body], [409, ""]);
    assert.equal(late.headers["content-type"], undefined);
    assert.equal((await get("/other", { token })).body, "100");
  });

  test("a value that cannot be stored: 400", async () => {
    const get = await serve((req, res) => {
      req.session.data.a = new Map();
      res.end("fine");
    });
    const { status, body } = await get("/");
    assert.deepEqual([status, body], [400, ""]);
  });

  test("after the response has started", async () => {
    const manager = make();
    const errors = [];
    const get = await serve(async (req, res) => {
      await req.session.get("n");
      res.write("started ");
      await req.session.set("later", true).catch((error) => errors.push(error.name));
      await req.session.renew().catch((error) => errors.push(error.name));
      await req.session.authenticate("ann").catch((error) => errors.push(error.name));
      res.end();
    }, manager);
    const [visitor, known] = [await get("/"), manager.acquire()];
    assert.equal(visitor.status, 200);
    assert.deepEqual(errors, Array(3).fill("ResponseStartedError"));
    await known.set("n", 1);
    await get("/", { token: known.sealedToken });
    assert.equal(await known.get("later"), true); // a write that needs no cookie
  });

  test("Early Hints go out at once and are not taken for the response", async () => {
    const get = await serve((req, res) => {
      req.session.data.a = 1;
      res.writeEarlyHints({ link: "</style.css>; rel=preload" });
      res.end("body");
    });
    const { body, token } = await get("/");
    assert.ok(body === "body" && token);
  });
});

test("1,000 requests at once on one session lose nothing", async () => {
  const manager = make();
  const server = await listen(
    async (req, res) => {
      req.session.data[req.url.slice(1)] = true; // saved before the headers go out
      json(res, await req.session.add("n"));
    },
    manager,
    {},
  );
  await checkStorm(server.address().port, manager);
});

test("streams: the cookie goes first, writes take effect while it goes on", async () => {
  const manager = make();
  const stream = new Stream();
  const server = await listen(async (req, res) => {
    await req.session.add("n");
    res.writeHead(200, { "Content-Type": "text/event-stream" });
    for await (const event of stream.events(req.session)) {
      res.write(event);
    }
    res.end();
  }, manager);
  await stream.check(server.address().port, "/", manager);
});

test("a WebSocket has the session of its upgrade", async () => {
  const manager = make();
  for (const data of [true, false]) {
    const server = await listen(app, manager);
    const sockets = new WebSocketServer({ noServer: true });
    server.on("upgrade", async (req, socket, head) => {
      await pazzo.upgrade(manager, req, { data });
      sockets.handleUpgrade(req, socket, head, (ws) => talk(ws, pazzo.sessionOf(req)));
    });
    await checkSocket(server.address().port, "/", manager);
  }
});

test("an upgrade with the store down rejects", async () => {
  const down = new pazzo.Manager("redis://127.0.0.1:1", { secretKeys: [KEY] });
  const request = { headers: { cookie: `__Host-session=${someToken(down)}` } };
  await assert.rejects(pazzo.upgrade(down, request), pazzo.UnavailableError);
  assert.throws(() => pazzo.sessionOf(request), pazzo.NoSessionError);
});

test("a store that is down is an error in time, not an empty session", async () => {
  await checkDown(async (down) => {
    const server = await listen(async (req, res) => json(res, await req.session.add("n")), down);
    return server.address().port;
  });
});

test("without data, a request asks the store for what it uses only", async () => {
  const proxy = await Relay.start(redis.port);
  const manager = new pazzo.Manager(proxy.url, { secretKeys: [KEY] });
  const get = await serve(
    (req, res) => {
      if (req.url === "/data") {
        assert.throws(() => req.session.data, /load/);
        assert.throws(() => req.session.views, /load/);
      }
      return app({ ...req, url: "/inc", session: req.session }, res);
    },
    manager,
    { data: false },
  );
  const { token } = await get("/inc");
  proxy.requests.length = 0;
  assert.equal((await get("/data", { token })).body, "2");
  const sent = Buffer.concat(proxy.requests).toString("latin1");
  assert.deepEqual(sent.match(/EVALSHA|HGETALL|HMGET/g), ["EVALSHA"]); // one round trip
  await manager.close();
  proxy.close();
});

test("a middleware without next rejects, one with next tells it", async () => {
  const manager = new pazzo.Manager("redis://127.0.0.1:1", { secretKeys: [KEY] });
  const request = () => ({ headers: { cookie: `__Host-session=${someToken(manager)}` } });
  const res = new http.ServerResponse({ method: "GET" });
  await assert.rejects(pazzo.middleware(manager)(request(), res), pazzo.UnavailableError);
  const error = await new Promise((resolve) => pazzo.middleware(manager)(request(), res, resolve));
  assert.ok(error instanceof pazzo.UnavailableError);
  assert.throws(() => pazzo.sessionOf(request()), pazzo.NoSessionError);
});
