/**
 * Pazzo: web sessions that stay correct under concurrency.
 *
 *     const manager = new Manager("redis://localhost:6379/0", { secretKeys: [key] });
 *     app.use(middleware(manager));
 *
 * See `pazzo/fastify` for Fastify and `pazzo/express-session` for a store of express-session.
 */

export type { Limits } from "./batch";
export * from "./errors";
export type { Device, Info } from "./info";
export { Manager } from "./manager";
export {
  type Middleware,
  type MiddlewareOptions,
  middleware,
  type Next,
  sessionOf,
  upgrade,
} from "./middleware";
export { AAL1, AAL2, AAL3, type CookieOptions, type Options, type Timeouts } from "./options";
export { type Expiry, Session } from "./session";
export { Transaction } from "./transaction";
export type { Callback, SessionCookie, SessionRequest, WebSession } from "./web";
