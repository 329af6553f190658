// What an app in TypeScript writes, as a CommonJS module. It is compiled and not run.

import pazzo = require("pazzo");
import plugin = require("pazzo/fastify");
import store = require("pazzo/express-session");

const manager = new pazzo.Manager("unix:///run/pazzo.sock", { secretKeys: ["…"] });
const handler: pazzo.Middleware = pazzo.middleware(manager);
const sessions = new store.PazzoStore(manager);
sessions.get("id", (error?: unknown, found?: unknown) => [error, found]);
module.exports = [handler, plugin.pazzo, pazzo.AAL3.idle];
