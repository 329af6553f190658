// The example app on Express: req.session is the session that all apps share.

import express from "express";
import { Manager, middleware } from "pazzo";

const manager = new Manager(process.env.PAZZO_STORE, {
  secretKeys: [process.env.PAZZO_SECRET_KEY],
  insecureHttp: true, // development: plain http, and a cookie named session
});

const app = express();
app.use(middleware(manager, { data: false })); // each route asks the store for what it uses

/** Adds 1 to an integer field. No addition is lost. */
app.get("/inc", async (req, res) => {
  res.send(String(await req.session.add(req.query.k)));
});

/** Prints a field of any type, or 0. */
app.get("/get", async (req, res) => {
  res.send((await req.session.text(req.query.k)) ?? "0");
});

/** Reads five fields and writes a sixth. */
app.get("/mix", async (req, res) => {
  let total = 0;
  for (let i = 0; i < 5; i++) {
    total += (await req.session.get(`f${i}`)) ?? 0;
  }
  await req.session.set(req.query.k, total + 1);
  res.send(String(total));
});

/** Gives a field any JSON value. */
app.get("/set", async (req, res) => {
  await req.session.setText(req.query.k, req.query.v);
  res.send(req.query.v);
});

/** Prints all fields as one JSON object, each as it was written. */
app.get("/dump", async (req, res) => {
  const fields = Object.entries(await req.session.texts());
  const members = fields.map(([name, text]) => `${JSON.stringify(name)}:${text}`);
  res.type("json").send(`{${members.join()}}`);
});

/** Logs the user in: the session keeps its fields and gets a new cookie. */
app.get("/login", async (req, res) => {
  await req.session.authenticate(req.query.user);
  res.send(req.query.user);
});

/** Ends the session for good. */
app.get("/logout", async (req, res) => {
  await req.session.destroy();
  res.send("");
});

/** Prints who is logged in, or nothing. */
app.get("/me", async (req, res) => {
  res.send(await req.session.authenticatedUser());
});

/** Answers an error with its status, such as 409 for a session that has ended. */
app.use((error, _req, res, _next) => {
  if (!(error.status < 500)) {
    console.error(error);
  }
  res.status(error.status ?? 500).end();
});

const [, host, port] = /^(.*):([0-9]+)$/.exec(process.env.ADDR);
app.listen(Number(port), host);
