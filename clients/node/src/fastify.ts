/**
 * A plugin for Fastify 5:
 *
 *     await fastify.register(pazzo, { manager });
 *     fastify.get("/", async (request) => `visit ${await request.session.add("visits")}`);
 *
 * What was changed in `session.data` is written in the onSend hook, so that an error of it goes to
 * Fastify's error handler, and again before the headers go out, for hooks that come later. An
 * error of this package that a handler lets through becomes a response with its status.
 *
 * A handler of @fastify/websocket has `request.session` as well. An upgrade sets no cookie: in it,
 * the first write of a session, a login or a renewal rejects with ResponseStartedError, and what is
 * changed in `data` is written by `save` only.
 */

import type { FastifyPluginCallback, FastifyRequest } from "fastify";
import type { Manager } from "./manager";
import { answer, type MiddlewareOptions } from "./middleware";
import { type Exchange, open, type WebSession } from "./web";

declare module "fastify" {
  interface FastifyRequest {
    session: WebSession;
    readonly sessionID: string;
    readonly sessionStore: Manager;
  }
}

/** How the plugin is registered. */
export interface PluginOptions extends MiddlewareOptions {
  readonly manager: Manager;
}

const plugin: FastifyPluginCallback<PluginOptions> = (fastify, { manager, data = true }, done) => {
  const exchanges = new WeakMap<FastifyRequest, Exchange>();
  fastify.decorateRequest("session");
  fastify.addHook("onRequest", async (request, reply) => {
    const failed = (error: unknown) => answer(reply.raw, error);
    exchanges.set(request, await open(manager, request.raw, request, reply.raw, data, failed));
  });
  fastify.addHook("preHandler", async (request) => {
    if ((request as { ws?: boolean }).ws) {
      exchanges.get(request)?.leave();
    }
  });
  fastify.addHook("onSend", async (request, _, payload) => {
    await exchanges.get(request)?.run();
    return payload;
  });
  done();
};

/** The plugin. It gives the requests of the whole instance sessions, not only of its own scope. */
export const pazzo = Object.assign(plugin, {
  [Symbol.for("skip-override")]: true,
  [Symbol.for("fastify.display-name")]: "pazzo",
  [Symbol.for("plugin-meta")]: { fastify: "5.x", name: "pazzo" },
});
