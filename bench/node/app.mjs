// The app of the benchmark on Express, with the sessions that SESSIONS names.

import { RedisStore } from "connect-redis";
import express from "express";
import session from "express-session";
import { Manager, middleware } from "pazzo";
import { createClient } from "redis";

const app = express();
const onPazzo = process.env.SESSIONS === "pazzo";

if (onPazzo) {
  const manager = new Manager(process.env.PAZZO_STORE, {
    secretKeys: ["k".repeat(32)],
    insecureHttp: true,
  });
  app.use(middleware(manager));
} else {
  const client = createClient({ url: process.env.BARE });
  await client.connect();
  app.use(
    session({
      store: new RedisStore({ client }),
      secret: "k".repeat(32),
      resave: false,
      saveUninitialized: false,
    }),
  );
}

/** The fields as they were when the request began. */
const fieldsOf = onPazzo ? (req) => req.session.data : (req) => req.session;

/** Sets a field. */
const set = onPazzo
  ? (req, name, value) => req.session.set(name, value)
  : (req, name, value) => {
      req.session[name] = value;
    };

/** Adds 1 to a field. */
const add = onPazzo
  ? (req, name) => req.session.add(name)
  : (req, name) => {
      req.session[name] = (req.session[name] ?? 0) + 1;
      return req.session[name];
    };

app.get("/set", async (req, res) => {
  await set(req, req.query.k, JSON.parse(req.query.v));
  res.send(req.query.v);
});

app.get("/get", (req, res) => {
  res.send(String(fieldsOf(req)[req.query.k] ?? 0));
});

app.get("/inc", async (req, res) => {
  res.send(String(await add(req, req.query.k)));
});

app.get("/mix", async (req, res) => {
  const fields = fieldsOf(req);
  let total = 0;
  for (let i = 0; i < 5; i++) {
    total += fields[`f${i}`] ?? 0;
  }
  await set(req, req.query.k, total + 1);
  res.send(String(total));
});

const [, host, port] = /^(.*):([0-9]+)$/.exec(process.env.ADDR);
app.listen(Number(port), host);
