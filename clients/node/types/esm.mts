// What an app in TypeScript writes, as an ES module. It is compiled and not run.

import { createServer } from "node:http";
import express from "express";
import session from "express-session";
import fastify from "fastify";
import {
  ConflictError,
  type Info,
  Manager,
  middleware,
  type Options,
  type SessionRequest,
  sessionOf,
  upgrade,
} from "pazzo";
import { PazzoStore } from "pazzo/express-session";
import { pazzo } from "pazzo/fastify";

const options: Options = { secretKeys: ["…"], reads: "request", cookie: { sameSite: "Strict" } };
const manager = new Manager("redis://localhost:6379/0", options);

const app = express();
app.use(middleware(manager, { data: false }));
app.get("/", async (req, res) => {
  const current = sessionOf(req);
  const visits: number = await current.add("visits");
  const name: string | undefined = await current.get<string>("name");
  const cart: string[] = await current.update<string[]>("cart", (before = []) => [...before, "x"]);
  current.data.seen = true;
  current.anything = { at: visits };
  current.regenerate((error?: unknown) => res.status(error ? 500 : 200).json([name, cart]));
  await current.save();
  const moved: number = await current.atomically((tx) => {
    tx.set("a", tx.get("b"));
    return 1;
  });
  return moved;
});
createServer(app).on("upgrade", async (req) => {
  await upgrade(manager, req, { data: false });
  const added: number = await sessionOf(req).add("messages");
  return added;
});
app.use(session({ store: new PazzoStore(manager, { ttl: 60 }), secret: "…" }));

createServer(async (req, res) => {
  await middleware(manager)(req, res);
  const { session: current, sessionID } = req as SessionRequest;
  await current.authenticate(sessionID);
});

const server = fastify();
await server.register(pazzo, { manager });
server.get("/", async (request) => {
  const info: Info | undefined = await request.session.info();
  return info?.created.getTime();
});

try {
  await manager.revokeAll("ann");
} catch (error) {
  const status: number = error instanceof ConflictError ? error.status : 500;
  console.error(status);
}

// @ts-expect-error: there is no such option
new Manager("redis://localhost", { secretKeys: [], rotateevery: 60 });
// @ts-expect-error: a value is missing
manager.acquire().set("a");
