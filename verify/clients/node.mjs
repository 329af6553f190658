// Checks a client of Node, as it comes, against a running agent.
//
//   node node.mjs PACKAGE
//
// The first line of the standard input is a plan, which real_clients_test.go describes. Each
// step is done over each way to the agent whose protocol the client has. Then this prints
// "restart" and reads on once the agent has been started anew.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createInterface } from "node:readline";

// kinds are how the packages of package.json are used. Each has the protocols that it can be
// asked for, 0 being its default, and opens a client that is the same for all.
const kinds = {
  redis: { protocols: [0, 2, 3], open: openNodeRedis },
  redis5: { protocols: [0, 2, 3], open: openNodeRedis },
  ioredis: { protocols: [0, 2, 3], open: openIoredis },
  ioredis5: { protocols: [0], open: openIoredis },
  iovalkey: { protocols: [0], open: openIoredis },
};

async function openNodeRedis(module, way, script, options = {}) {
  const socket = way.socket ? { path: way.socket } : { host: way.host, port: way.port };
  const one = { SCRIPT: script, NUMBER_OF_KEYS: 1, parseCommand: pushAll };
  const client = module.createClient({
    socket,
    ...(way.user && { username: way.user }),
    password: way.password,
    ...(way.protocol && { RESP: way.protocol }),
    scripts: {
      apply: module.defineScript(one),
      foreign: module.defineScript({ ...one, SCRIPT: "return 1" }),
    },
    ...options,
  });
  let failure;
  client.on("error", (error) => {
    failure = error;
    if (refusal(error)) client.destroy(); // or it tries for ever
  });
  await client.connect().catch((error) => {
    failure ??= error;
  });
  if (failure) throw failure; // node-redis 5 calls a destroyed client connected
  return {
    apply: (key, args) => client.apply(key, args),
    foreign: (key) => client.foreign(key, []),
    hmget: (key, fields) => client.hmGet(key, fields),
    hgetall: (key) => client.hGetAll(key),
    hget: (key, field) => client.hGet(key, field),
    set: () => client.set("a", "b"),
    command: (...words) => client.sendCommand(words),
    pipeline: (key) =>
      Promise.all([client.ping(), client.hGet(key, "n"), client.hmGet(key, ["missing"])]),
    close: () => client.destroy(),
  };
}

function pushAll(parser, key, args) {
  parser.pushKey(key);
  parser.push(...args);
}

const refusal = (error) => /^(ERR|WRONGPASS)/.test(error?.message);

async function openIoredis(module, way, script) {
  const client = new module.Redis({
    ...(way.socket ? { path: way.socket } : { host: way.host, port: way.port }),
    ...(way.user && { username: way.user }),
    password: way.password,
    ...(way.protocol && { protocol: way.protocol }),
  });
  client.defineCommand("apply", { numberOfKeys: 1, lua: script });
  client.defineCommand("foreign", { numberOfKeys: 1, lua: "return 1" });
  let failure;
  client.on("error", (error) => {
    failure = error;
  });
  await Promise.race([once(client, "ready"), once(client, "end")]).catch(() => {
    client.disconnect();
    throw failure;
  });
  return {
    apply: (key, args) => client.apply(key, ...args),
    foreign: (key) => client.foreign(key),
    hmget: (key, fields) => client.hmget(key, ...fields),
    hgetall: (key) => client.hgetall(key),
    hget: (key, field) => client.hget(key, field),
    set: () => client.set("a", "b"),
    command: (...words) => client.call(...words),
    pipeline: async (key) => {
      const all = await client.pipeline().ping().hget(key, "n").hmget(key, "missing").exec();
      return all.map(([error, value]) => {
        assert.equal(error, null);
        return value;
      });
    },
    close: () => client.disconnect(),
  };
}

// applies runs the script twice, which ioredis sends as EVAL and then as EVALSHA. Most of the
// binary answer is lost in text: that the first has made the session is what reads tells.
async function applies(client, way) {
  assert.equal(typeof (await client.apply(way.key, way.args)), "string");
  assert.equal(typeof (await client.apply(way.key, way.args)), "string");
}

async function reads(client, key) {
  assert.deepEqual([...(await client.hmget(key, ["n", "missing"]))], ["42", null]);
  assert.equal((await client.hgetall(key)).n, "42");
  assert.ok((await client.command("PTTL", key)) > 0);
  assert.deepEqual(await client.pipeline(key), ["PONG", "42", [null]]);
}

async function handlesErrors(client, key) {
  await assert.rejects(client.set(), /unknown command/);
  await assert.rejects(client.command("CLIENT", "NONSENSE"), /unknown subcommand/);
  // NOSCRIPT, which the client answers by EVAL; ioredis, which begins with EVAL, at the second.
  await assert.rejects(client.foreign(key), /does not run that script/);
  await assert.rejects(client.foreign(key), /does not run that script/);
  const around = await Promise.allSettled([
    client.hget(key, "n"),
    client.set(),
    client.hget(key, "n"),
  ]);
  assert.deepEqual(
    around.map((one) => one.value ?? one.status),
    ["42", "rejected", "42"],
  );
}

async function all(plan, kind, module, way) {
  const client = await kind.open(module, way, plan.script);
  await applies(client, way);
  await reads(client, way.key);
  assert.equal(
    typeof (await client.command("EVAL", plan.script, "1", way.key, ...way.args)),
    "string",
  );
  await handlesErrors(client, way.key);
  const stranger = kind.open(module, { ...way, password: "wrong" }, plan.script);
  await assert.rejects(stranger, /WRONGPASS/);
  if (module.BasicClientSideCache && way.protocol === 3) {
    const clientSideCache = new module.BasicClientSideCache();
    const caching = kind.open(module, way, plan.script, { clientSideCache });
    await assert.rejects(caching, /switch the client's cache off/);
  }
  return client;
}

// named tells where an error has come from.
const named = (name, work) =>
  work().catch((cause) => {
    throw new Error(name, { cause });
  });

const kind = kinds[process.argv[2]];
assert.ok(kind, `${process.argv[2]} is none of ${Object.keys(kinds)}`);
const module = await import(process.argv[2]);
const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const plan = JSON.parse((await input.next()).value);
const opened = [];
for (const way of plan.ways) {
  if (!kind.protocols.includes(way.protocol)) continue;
  way.args = way.args.map((text) => Buffer.from(text, "base64"));
  opened.push({ way, client: await named(way.name, () => all(plan, kind, module, way)) });
}
console.log("restart");
await input.next();
for (const { way, client } of opened) {
  await named(`${way.name}, after a restart`, async () => {
    await applies(client, way);
    await reads(client, way.key);
    client.close();
  });
}
