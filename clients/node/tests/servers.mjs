// Real servers for the tests, each on a free port and ended by its own process id.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { createClient, RESP_TYPES } from "@redis/client";

export const KEY = "a secret key for tests of 32 bytes or more";
const ROOT = join(import.meta.dirname ?? new URL(".", import.meta.url).pathname, "../../..");
export const PROTOCOL = join(ROOT, "protocol");

/** What runs, and is not to outlive the tests, however they end. */
const running = new Set();
process.once("exit", () => {
  for (const child of running) {
    child.kill("SIGKILL");
  }
});
process.once("SIGTERM", () => process.exit(1));

function run(program, options) {
  const child = spawn(program, options, { stdio: ["ignore", "ignore", "inherit"] });
  running.add(child);
  child.once("exit", () => running.delete(child));
  return child;
}

export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export async function until(condition, ms = 10_000) {
  for (const end = performance.now() + ms; performance.now() < end; await pause(10)) {
    if (await condition()) {
      return;
    }
  }
  throw new Error("it takes too long");
}

/** A redis-server, or what PAZZO_REDIS_SERVER names, without persistence. */
export class Redis {
  static async start(...options) {
    const redis = new Redis();
    redis.folder = mkdtempSync(join(tmpdir(), "pazzo-"));
    redis.port = await freePort();
    redis.socket = join(redis.folder, "redis.sock");
    redis.options = options;
    await redis.run();
    return redis;
  }

  async run() {
    const program = process.env.PAZZO_REDIS_SERVER ?? "redis-server";
    const place = ["--port", String(this.port), "--bind", "127.0.0.1", "--dir", this.folder];
    const options = [...place, "--save", "", "--unixsocket", this.socket, ...this.options];
    this.process = run(program, options);
    await until(() => answers(this.port));
  }

  get url() {
    return `redis://127.0.0.1:${this.port}/0`;
  }

  /** Does something with a client of its own, whose replies are buffers. */
  async do(work) {
    const client = createClient({
      RESP: 2,
      maintNotifications: "disabled",
      socket: { host: "127.0.0.1", port: this.port },
      commandOptions: { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } },
    });
    client.on("error", () => {});
    await client.connect();
    try {
      return await work((...args) =>
        client.sendCommand(args.map((a) => (Buffer.isBuffer(a) ? a : String(a)))),
      );
    } finally {
      client.destroy();
    }
  }

  async stop() {
    this.process.kill("SIGKILL");
    await once(this.process, "exit");
  }

  async close() {
    await this.stop();
    rmSync(this.folder, { recursive: true });
  }
}

async function answers(port) {
  const socket = createConnection(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    socket.write("PING\r\n");
    const [reply] = await once(socket, "data");
    return String(reply).startsWith("+PONG");
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** A pazzo agent with a store in memory, on a port and a socket. */
export class Agent {
  static async start() {
    const agent = new Agent();
    agent.folder = mkdtempSync(join(tmpdir(), "pazzo-"));
    let program = process.env.PAZZO_AGENT;
    if (!program) {
      program = join(agent.folder, "pazzo");
      execFileSync("go", ["build", "-o", program, "."], { cwd: join(ROOT, "cmd/pazzo") });
    }
    agent.port = await freePort();
    agent.socket = join(agent.folder, "agent.sock");
    const place = ["-socket", agent.socket, "-listen", `127.0.0.1:${agent.port}`];
    agent.process = run(program, ["agent", ...place, "-log-level", "warn"]);
    await until(() => answers(agent.port));
    return agent;
  }

  get url() {
    return `pazzo://127.0.0.1:${this.port}`;
  }

  async close() {
    this.process.kill("SIGTERM");
    await once(this.process, "exit");
    rmSync(this.folder, { recursive: true });
  }
}

/** A TCP proxy before a server, whose bytes can be held back, cut or changed. */
export class Relay {
  static async start(port) {
    const proxy = new Relay();
    proxy.open = new Set();
    /** So many replies are swallowed, with their connections. */
    proxy.cutReplies = 0;
    /** While it is set, no reply passes. */
    proxy.hold = undefined;
    /** Applied to each chunk of a reply. */
    proxy.change = (chunk) => chunk;
    proxy.requests = [];
    proxy.server = createServer((near) => proxy.connect(near, port));
    proxy.server.listen(0, "127.0.0.1");
    await once(proxy.server, "listening");
    proxy.port = proxy.server.address().port;
    return proxy;
  }

  connect(near, port) {
    const far = createConnection(port, "127.0.0.1");
    for (const [one, other] of [
      [near, far],
      [far, near],
    ]) {
      this.open.add(one);
      one.on("error", () => {});
      one.on("close", () => {
        this.open.delete(one);
        other.destroy();
      });
    }
    near.on("data", (chunk) => {
      this.requests.push(chunk);
      far.write(chunk);
    });
    far.on("data", async (chunk) => {
      await this.hold;
      if (this.cutReplies > 0) {
        this.cutReplies--;
        near.destroy();
      } else if (!near.destroyed) {
        near.write(this.change(chunk));
      }
    });
  }

  /** Holds replies back; returns what lets them go. */
  holdReplies() {
    let release;
    this.hold = new Promise((resolve) => {
      release = resolve;
    });
    return () => {
      this.hold = undefined;
      release();
    };
  }

  get url() {
    return `redis://127.0.0.1:${this.port}/0`;
  }

  close() {
    this.server.close();
    for (const socket of this.open) {
      socket.destroy();
    }
  }
}
