// Options and store URLs: what is wrong is named, with what is allowed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Manager, OptionsError, TokenError } from "pazzo";
import { KEY } from "./servers.mjs";
import { internal } from "./vectors.mjs";

const { parseUrl } = internal("url");
const URL = "redis://localhost";
const make = (options) => new Manager(URL, { secretKeys: [KEY], ...options });

for (const [options, named] of [
  [{ secretKeys: [] }, /secretKeys/],
  [{ secretKeys: KEY }, /secretKeys/],
  [{ secretKeys: undefined }, /secretKeys/],
  [{ secretKeys: [KEY, "short"] }, /secretKeys\[1\] has 5 bytes/],
  [{ secretKeys: [""], insecureShortKey: true }, /secretKeys\[0\]/],
  [{ timeouts: { idle: 0, absolute: 60 } }, /timeouts.idle is 0/],
  [{ timeouts: { idle: 60, absolute: 30 } }, /timeouts.idle is 60/],
  [{ timeouts: { idle: 60, absolute: 1e12 } }, /timeouts.absolute/],
  [{ timeouts: { idle: "60", absolute: 90 } }, /timeouts.idle/],
  [{ rotateEvery: 5 }, /rotateEvery is 5: 60 to/],
  [{ rotateGrace: 0 }, /rotateGrace/],
  [{ keepTombstones: 0 }, /keepTombstones/],
  [{ maxPerUser: 0 }, /maxPerUser/],
  [{ limits: { name: 257 } }, /limits.name is 257/],
  [{ reads: "once" }, /reads is once: live and request/],
  [{ whenFull: "x" }, /whenFull/],
  [{ staleFields: "x" }, /staleFields/],
  [{ rotateevery: 60 }, /rotateevery is no option/],
  [{ cookie: { name: "a b" } }, /cookie.name/],
  [{ cookie: { name: "__Host-x", path: "/a" } }, /cookie.name/],
  [{ cookie: { path: "a" } }, /cookie.path/],
  [{ cookie: { path: "/;" } }, /cookie.path/],
  [{ cookie: { domain: "a b" } }, /cookie.domain/],
  [{ cookie: { sameSite: "x" } }, /cookie.sameSite/],
  [{ cookie: { name: "__Secure-x" }, insecureHttp: true }, /cookie.name/],
  [{ cookie: { sameSite: "None" }, insecureHttp: true }, /cookie.sameSite/],
]) {
  test(`wrong: ${JSON.stringify(options).slice(0, 50)}`, () => {
    assert.throws(
      () => make(options),
      (error) => error instanceof OptionsError && named.test(error.message),
    );
  });
}

test("all that is wrong is named at once", () => {
  const wrong = { secretKeys: [], rotateEvery: 1, cookie: { path: "x" } };
  assert.throws(() => make(wrong), /secretKeys[\s\S]*rotateEvery[\s\S]*cookie.path/);
});

test("undefined is the default", () => {
  assert.equal(make({ reads: undefined, rotateGrace: undefined }).core.settings.rotateGrace, 15);
});

test("danger is told", async () => {
  const told = [];
  const listen = (warning) => told.push(warning);
  process.on("warning", listen);
  make({ secretKeys: ["secret"], insecureHttp: true, insecureShortKey: true });
  await new Promise(setImmediate);
  process.off("warning", listen);
  assert.deepEqual(
    told.map(({ name, message }) => [name, message.split(":")[0]]),
    [
      ["PazzoWarning", "INSECURE"],
      ["PazzoWarning", "INSECURE"],
    ],
  );
});

test("a token that is none of ours", () => {
  assert.throws(() => make().acquire("rubbish"), TokenError);
});

for (const [url, wanted] of [
  ["redis://localhost", { host: "localhost", port: 6379, db: 0, prefix: "pazzo:", timeout: 1000 }],
  [
    "redis://u:p%40@h:1/5?prefix=a:&timeout=1.5s",
    { username: "u", password: "p@", db: 5, timeout: 1500 },
  ],
  ["rediss://[::1]:7?ca=/x", { secure: true, host: "::1", port: 7, ca: "/x" }],
  ["pazzo://h:1", { host: "h", port: 1, secure: false }],
  ["unix:///a/b?db=2", { path: "/a/b", db: 2 }],
  ["unix://u:p@/a", { path: "/a", username: "u", password: "p" }],
]) {
  test(`URL ${url}`, () => {
    const config = parseUrl(url);
    for (const [name, value] of Object.entries(wanted)) {
      assert.equal(config[name], value, name);
    }
  });
}

for (const url of [
  "localhost:6379",
  "http://localhost",
  "redis://",
  "redis://h:0",
  "redis://h:65536",
  "redis://h:x",
  "redis://a,b",
  "redis://h/x",
  "redis://h/1/2",
  "redis://h?prefix=a",
  "redis://h?prefix={a}:",
  "redis://h?prefix=",
  "redis://h?timeout=1",
  "redis://h?timeout=0s",
  "redis://h?timeout=1000000m",
  "redis://h?db=1",
  "redis://h?ca=x",
  "redis://h?timeout=1s&timeout=2s",
  "redis://h?nearcache=1",
  "redis://u:secret@h#x",
  "redis://u:secret%@h",
  "redis+sentinel://h/main",
  "redis+cluster://h",
  "unix://",
  "unix://h/a",
  "unix:///",
]) {
  test(`wrong URL ${url}`, () => {
    assert.throws(
      () => parseUrl(url),
      (error) => error instanceof OptionsError && !error.message.includes("secret"),
    );
  });
}
