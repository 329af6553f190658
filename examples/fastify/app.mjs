// The example app on Fastify: request.session is the session that all apps share.

import fastify from "fastify";
import { Manager } from "pazzo";
import { pazzo } from "pazzo/fastify";

const manager = new Manager(process.env.PAZZO_STORE, {
  secretKeys: [process.env.PAZZO_SECRET_KEY],
  insecureHttp: true, // development: plain http, and a cookie named session
});

const app = fastify();
await app.register(pazzo, { manager, data: false }); // each route asks for what it uses

/** Adds 1 to an integer field. No addition is lost. */
app.get("/inc", async ({ session, query }) => String(await session.add(query.k)));

/** Prints a field of any type, or 0. */
app.get("/get", async ({ session, query }) => (await session.text(query.k)) ?? "0");

/** Reads five fields and writes a sixth. */
app.get("/mix", async ({ session, query }) => {
  let total = 0;
  for (let i = 0; i < 5; i++) {
    total += (await session.get(`f${i}`)) ?? 0;
  }
  await session.set(query.k, total + 1);
  return String(total);
});

/** Gives a field any JSON value. */
app.get("/set", async ({ session, query }) => {
  await session.setText(query.k, query.v);
  return query.v;
});

/** Prints all fields as one JSON object, each as it was written. */
app.get("/dump", async ({ session }, reply) => {
  const fields = Object.entries(await session.texts());
  const members = fields.map(([name, text]) => `${JSON.stringify(name)}:${text}`);
  reply.type("application/json");
  return `{${members.join()}}`;
});

/** Logs the user in: the session keeps its fields and gets a new cookie. */
app.get("/login", async ({ session, query }) => {
  await session.authenticate(query.user);
  return query.user;
});

/** Ends the session for good. */
app.get("/logout", async ({ session }) => {
  await session.destroy();
  return "";
});

/** Prints who is logged in, or nothing. */
app.get("/me", async ({ session }) => session.authenticatedUser());

/** Answers an error with its status, such as 409 for a session that has ended. */
app.setErrorHandler((error, _request, reply) => {
  if (!(error.statusCode < 500)) {
    console.error(error);
  }
  return reply.status(error.statusCode ?? 500).send();
});

const [, host, port] = /^(.*):([0-9]+)$/.exec(process.env.ADDR);
await app.listen({ host, port: Number(port) });
