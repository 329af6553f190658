/** Middleware for node:http, Connect and Express. */

import type { IncomingMessage, ServerResponse } from "node:http";
import { NoSessionError, PazzoError } from "./errors";
import type { Manager } from "./manager";
import { open, openUpgrade, type SessionRequest, type WebSession } from "./web";

/** How requests get their sessions. */
export interface MiddlewareOptions {
  /**
   * Loads the fields before the app is called, so that `session.data` and fields as properties can
   * be used, which Passport does: the default. Off, a request asks the store for what it uses only.
   */
  readonly data?: boolean;
}

/** Goes on to the app, or to what answers errors. */
export type Next = (error?: unknown) => void;

/** Gives a request its session. Without *next* it is awaited, and rejects in place of `next(error)`. */
export type Middleware = (req: IncomingMessage, res: ServerResponse, next?: Next) => Promise<void>;

/**
 * Returns middleware that gives each request its session:
 *
 *     app.use(middleware(manager));                              // Express, Connect
 *     http.createServer(async (req, res) => {                    // node:http
 *       await session(req, res);
 *       res.end(String(await req.session.add("visits")));
 *     });
 *
 * What was changed in `session.data` is written before the headers go out; if that fails, `next`
 * gets the error and nothing of the app's response is sent.
 */
export function middleware(manager: Manager, { data = true }: MiddlewareOptions = {}): Middleware {
  return async (req, res, next) => {
    const request = req as SessionRequest;
    const failed = next ?? ((error: unknown) => answer(res, error));
    try {
      if (!request.session) {
        await open(manager, req, request, res, data, failed);
      }
    } catch (error) {
      if (!next) {
        throw error;
      }
      next(error);
      return;
    }
    next?.();
  };
}

/**
 * Gives the request of an upgrade its session, for a WebSocket of `ws` or another package beside an
 * app of Express or node:http:
 *
 *     server.on("upgrade", async (req, socket, head) => {
 *       socket.on("error", () => socket.destroy());
 *       try {
 *         await upgrade(manager, req);
 *         wss.handleUpgrade(req, socket, head, (ws) => wss.emit("connection", ws, req));
 *       } catch {
 *         socket.end("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n");
 *       }
 *     });
 *
 * An upgrade sets no cookie. So what would need one, the first write of a session, a login or a
 * renewal, rejects with ResponseStartedError. What is changed in `data` is written by `save` only.
 * A write after a logout rejects with GoneError. It rejects, with UnavailableError above all, when
 * the session cannot be loaded. The socket stays the caller's; without a listener for errors, one
 * that is reset meanwhile ends the process.
 */
export function upgrade(
  manager: Manager,
  req: IncomingMessage,
  { data = true }: MiddlewareOptions = {},
): Promise<void> {
  return openUpgrade(manager, req, data);
}

/** Returns the session that the middleware has given a request, or throws NoSessionError. */
export function sessionOf(req: IncomingMessage): WebSession {
  const { session } = req as Partial<SessionRequest>;
  if (!session) {
    throw new NoSessionError("the request has no session: the middleware is missing");
  }
  return session;
}

/** Answers an error that nobody handles: its status and no body. */
export function answer(res: ServerResponse, error: unknown): void {
  res.statusCode = error instanceof PazzoError ? error.status : 500;
  res.end();
}
