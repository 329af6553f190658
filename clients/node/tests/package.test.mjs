// The package as `npm pack` makes it, used by import and by require.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

const HERE = dirname(dirname(fileURLToPath(import.meta.url)));
let app;

before(() => {
  app = mkdtempSync(join(tmpdir(), "pazzo-"));
  const pack = ["pack", "--ignore-scripts", "--silent", "--pack-destination", app];
  const tarball = execFileSync("npm", pack, { cwd: HERE, encoding: "utf8" }).trim();
  const target = join(app, "node_modules/pazzo");
  mkdirSync(target, { recursive: true });
  execFileSync("tar", ["-xzf", join(app, tarball), "-C", target, "--strip-components=1"]);
  // What it needs, and nothing else of the development's packages.
  for (const name of ["@redis", "express-session", ...dependenciesOf("express-session")]) {
    symlinkSync(join(HERE, "node_modules", name), join(app, "node_modules", name));
  }
});
after(() => rmSync(app, { recursive: true }));

function dependenciesOf(name) {
  const file = join(HERE, "node_modules", name, "package.json");
  return Object.keys(JSON.parse(readFileSync(file, "utf8")).dependencies ?? {});
}

const run = (kind, code) =>
  execFileSync(process.execPath, [`--input-type=${kind}`, "--eval", code], {
    cwd: app,
    encoding: "utf8",
    stdio: "pipe", // what fails on purpose is not to look like a failure
  }).trim();

test("one dependency", () => {
  const { dependencies } = JSON.parse(readFileSync(join(HERE, "package.json"), "utf8"));
  assert.deepEqual(Object.keys(dependencies), ["@redis/client"]);
  assert.deepEqual(dependenciesOf("@redis/client"), []);
});

test("import", () => {
  const code = `
    import { Manager, middleware, GoneError } from "pazzo";
    import { pazzo } from "pazzo/fastify";
    import { PazzoStore } from "pazzo/express-session";
    const manager = new Manager("redis://localhost", { secretKeys: ["k".repeat(32)] });
    console.log(typeof middleware(manager), typeof pazzo, PazzoStore.name, new GoneError("x").status);`;
  assert.equal(run("module", code), "function function PazzoStore 409");
});

test("require", () => {
  const code = `
    const { Manager, middleware, GoneError } = require("pazzo");
    const { pazzo } = require("pazzo/fastify");
    const { PazzoStore } = require("pazzo/express-session");
    const manager = new Manager("redis://localhost", { secretKeys: ["k".repeat(32)] });
    console.log(typeof middleware(manager), typeof pazzo, PazzoStore.name, new GoneError("x").status);`;
  assert.equal(run("commonjs", code), "function function PazzoStore 409");
});

test("an error is of the same class by import and by require", () => {
  const code = `
    import { createRequire } from "node:module";
    import { GoneError } from "pazzo";
    const required = createRequire(process.cwd() + "/x.js")("pazzo");
    console.log(new required.GoneError("x") instanceof GoneError);`;
  assert.equal(run("module", code), "true");
});

test("express-session is needed for its store only", () => {
  rmSync(join(app, "node_modules/express-session"));
  assert.equal(run("commonjs", 'console.log(typeof require("pazzo").Manager)'), "function");
  assert.throws(() => run("commonjs", 'require("pazzo/express-session")'), /express-session/);
});

test("it holds what is needed, and nothing else", () => {
  const target = join(app, "node_modules/pazzo");
  const files = execFileSync("find", [".", "-type", "f"], { cwd: target, encoding: "utf8" });
  const wrong = files
    .trim()
    .split("\n")
    .filter(
      (file) =>
        !/^\.\/(dist\/[a-z-]+\.(js|d\.ts)|lua\/(apply|index)\.lua|package\.json|README\.md)$/.test(
          file,
        ),
    );
  assert.deepEqual(wrong, []);
  assert.match(files, /README\.md/);
  assert.doesNotMatch(readFileSync(join(target, "dist/manager.d.ts"), "utf8"), /\bcore\b/);
});
