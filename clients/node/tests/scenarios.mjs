// What every framework's app is put through, as its browser sees it.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { Manager } from "pazzo";
import { WebSocket } from "ws";
import { KEY, Redis, Relay } from "./servers.mjs";

const NAME = "__Host-session";

/** Sends a request; the response's body is still to be read. */
export async function send(port, path, { token, agent = false } = {}) {
  const headers = { "sec-fetch-mode": "cors", ...(token ? { cookie: `${NAME}=${token}` } : {}) };
  const [res] = await once(http.get({ port, path, headers, agent }), "response");
  const cookies = res.headers["set-cookie"] ?? [];
  return { res, cookies, token: cookies[0]?.split(";")[0].slice(NAME.length + 1) };
}

/** Sends a request and reads its response. */
export async function read(port, path, options) {
  const { res, cookies, token } = await send(port, path, options);
  const body = Buffer.concat(await res.toArray()).toString();
  return { status: res.statusCode, body, cookies, token };
}

/** What waits until it is its turn. */
class Turn {
  constructor() {
    this.comes = new Promise((resolve) => {
      this.begin = resolve;
    });
  }
}

/**
 * An app's stream of server-sent events, for a session that was written to before: it writes again
 * when the browser has read what came first.
 */
export class Stream {
  #turn = new Turn();
  #end = new Turn();

  /** What the app sends. */
  async *events(session) {
    yield `data: ${await session.get("n")}\n\n`;
    await this.#turn.comes;
    yield `data: ${await session.add("n")}\n\n`;
    await this.#end.comes;
  }

  /** Reads it, as a visitor without a session whose first write sets n to 1. */
  async check(port, path, manager) {
    const { res, cookies, token } = await send(port, path);
    assert.equal(cookies.length, 1); // while the app waits for its turn
    assert.match(res.headers["content-type"], /^text\/event-stream/);
    const chunks = res.setEncoding("utf8").iterator();
    assert.equal((await chunks.next()).value, "data: 1\n\n");
    const elsewhere = manager.acquire(token);
    assert.equal(await elsewhere.add("n", 10), 11);
    this.#turn.begin();
    assert.equal((await chunks.next()).value, "data: 12\n\n");
    assert.equal(await elsewhere.get("n"), 12); // the stream goes on
    this.#end.begin();
    assert.equal((await chunks.next()).done, true);
  }
}

/** An app's end of a WebSocket: it adds, or logs in, and says what came of it. */
export function talk(socket, session) {
  socket.on("message", async (word) => {
    try {
      const done = String(word) === "login" ? session.authenticate("ann") : session.add("n");
      socket.send(String(await done));
    } catch (error) {
      socket.send(error.name);
    }
  });
}

/** The browser's end. */
class Talk {
  static async begin(port, path, token) {
    const cookie = token ? { cookie: `${NAME}=${token}` } : {};
    const headers = { "sec-fetch-mode": "websocket", ...cookie };
    const talk = new Talk();
    talk.socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, { headers });
    const [[response]] = await Promise.all([
      once(talk.socket, "upgrade"),
      once(talk.socket, "open"),
    ]);
    talk.cookies = response.headers["set-cookie"];
    return talk;
  }

  async say(word) {
    this.socket.send(word);
    const [answer] = await once(this.socket, "message");
    return String(answer);
  }

  async end() {
    this.socket.close();
    await once(this.socket, "close");
  }
}

/** Talks to an app by WebSocket, as one who has a session and as one who has none. */
export async function checkSocket(port, path, manager) {
  const session = manager.acquire();
  await session.set("n", 1);
  const known = await Talk.begin(port, path, session.sealedToken);
  assert.equal(await known.say("add"), "2");
  assert.equal(await session.add("n", 10), 12); // each sees what the other writes
  assert.equal(await known.say("add"), "13");
  assert.equal(await session.get("n"), 13);
  assert.equal(await known.say("login"), "ResponseStartedError"); // its cookie could not be set
  assert.equal(await session.authenticatedUser(), "");
  await session.destroy();
  assert.equal(await known.say("add"), "GoneError");
  await known.end();

  const visitor = await Talk.begin(port, path);
  assert.equal(await visitor.say("add"), "ResponseStartedError");
  assert.equal(visitor.cookies, undefined);
  await visitor.end();
}

/** Sends 1,000 requests at once, to an app that adds 1 to `n` and sets a field of the path's name. */
export async function checkStorm(port, manager) {
  const session = manager.acquire();
  await session.set("n", 0);
  const token = session.sealedToken;
  const agent = new http.Agent({ keepAlive: true, maxSockets: 100 });
  const paths = Array.from({ length: 1000 }, (_, i) => `/f${i}`);
  const replies = await Promise.all(paths.map((path) => read(port, path, { token, agent })));
  agent.destroy();
  const counts = replies.map(({ body }) => Number(body)).sort((a, b) => a - b);
  assert.deepEqual(
    counts,
    paths.map((_, i) => i + 1),
  );
  assert.ok(replies.every(({ cookies }) => cookies.length === 0));
  assert.equal(Object.keys(await session.getAll()).length, 1001);
}

/**
 * Takes the store from an app whose every path writes to the session and answers with `n`: it
 * hangs, then it is gone, then it is back. *serve* is given the app's manager and returns its port.
 */
export async function checkDown(serve) {
  const redis = await Redis.start();
  const relay = await Relay.start(redis.port);
  const manager = new Manager(`${relay.url}?timeout=500ms`, { secretKeys: [KEY] });
  try {
    const port = await serve(manager);
    const { token, body } = await read(port, "/");
    assert.equal(body, "1");
    const release = relay.holdReplies();
    await checkRefused(port, token);
    release();
    await redis.stop();
    try {
      await checkRefused(port, token);
      await checkRefused(port, undefined); // nor is one made up
    } finally {
      await redis.run();
    }
    assert.equal((await read(port, "/")).body, "1");
  } finally {
    await manager.close();
    relay.close();
    await redis.close();
  }
}

async function checkRefused(port, token) {
  const start = performance.now();
  const { status, cookies, body } = await read(port, "/", { token });
  assert.deepEqual([status, cookies], [503, []], body);
  assert.ok(performance.now() - start < 3000);
}
