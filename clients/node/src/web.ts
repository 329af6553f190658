/**
 * The session of an HTTP request: a Session with what express-session documents of `req.session`,
 * so that Passport and middleware written for it work. A property that is no method of it is a
 * field of `data`: `req.session.views` is `req.session.data.views`.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import { setCookie } from "./cookies";
import { GoneError, NoSessionError, PazzoError, SupersededError } from "./errors";
import type { Manager } from "./manager";
import type { Settings } from "./options";
import { beforeHeaders, type Preparation } from "./response";
import { Session } from "./session";
import { loosenRequest, loosenResponse } from "./shape";
import type { RequestState } from "./state";

/** Is called when it is done, with an error or without. */
export type Callback = (error?: unknown) => void;

/** A request's session, as apps see it: with its fields as properties. */
// biome-ignore lint/suspicious/noExplicitAny: the app knows what its fields hold
export type WebSession = RequestSession & Record<string, any>;

/** A request with a session. `session` is missing after `session.destroy`. */
export interface SessionRequest extends IncomingMessage {
  session: WebSession;
  /** The session's public name, for logs and revocation. */
  readonly sessionID: string;
  /** What has given the request its session. */
  readonly sessionStore: Manager;
}

/** What holds the session: the request of the framework. */
interface Holder {
  session?: WebSession | null | undefined;
  sessionStore?: Manager;
  [IDENTIFY]?: () => string;
}

/** The cookie of one session. A change of `expires` or `maxAge` is saved with the session. */
export class SessionCookie {
  readonly path: string;
  readonly httpOnly: boolean;
  readonly secure: boolean;
  readonly sameSite: string;
  readonly domain: string | undefined;
  /** How long the cookie lasts, in ms, at the time when that was chosen; null: with the browser. */
  originalMaxAge: number | null = null;
  #expires: Date | null = null;
  #isChanged = false;

  /** @internal */
  constructor({ cookie, insecureHttp }: Settings, left: number | undefined) {
    this.path = cookie.path;
    this.httpOnly = cookie.httpOnly;
    this.secure = !insecureHttp;
    this.sameSite = cookie.sameSite.toLowerCase();
    this.domain = cookie.domain || undefined;
    if (left !== undefined) {
      this.maxAge = left;
      this.#isChanged = false;
    }
  }

  /** When the cookie ends; null: with the browser. */
  get expires(): Date | null {
    return this.#expires;
  }

  set expires(when: Date | false | null | undefined) {
    this.#expires = when || null;
    this.originalMaxAge = this.maxAge;
    this.#isChanged = true;
  }

  /** How long the cookie lasts from now, in ms; null: until the browser is closed. */
  get maxAge(): number | null {
    return this.#expires && this.#expires.getTime() - Date.now();
  }

  set maxAge(ms: number | null | undefined) {
    if (ms != null && !Number.isFinite(ms)) {
      throw new TypeError("maxAge must be a number of milliseconds, or null");
    }
    this.expires = ms == null ? null : new Date(Date.now() + ms);
    this.originalMaxAge = ms ?? null;
  }

  /** @internal Has the time begin anew. */
  reset(): void {
    if (this.originalMaxAge !== null) {
      this.#expires = new Date(Date.now() + this.originalMaxAge);
    }
  }

  /** @internal Whether `expires` or `maxAge` is to be saved. */
  get isChanged(): boolean {
    return this.#isChanged;
  }

  /** @internal Takes in that it was. */
  saved(): void {
    this.#isChanged = false;
  }
}

/** Gets the session behind what apps see, whose use is not to count as the app's. */
const BEHIND = Symbol("behind");

/** The session of an HTTP request. Every method with a callback returns a promise without one. */
export class RequestSession extends Session {
  readonly #state: RequestState;
  readonly #holder: Holder;
  readonly #face: WebSession;
  #cookie: SessionCookie | undefined;

  /** @internal */
  constructor(state: RequestState, holder: Holder) {
    super(state);
    this.#state = state;
    this.#holder = holder;
    this.#face = new Proxy(this, new Face(state)) as WebSession;
  }

  /** @internal Returns a session as apps see it. */
  static face(session: RequestSession): WebSession {
    return session.#face;
  }

  /** The session's public name: 32 hexadecimal digits. It changes with `regenerate`. */
  get id(): string {
    return this.#state.planned().toString("hex");
  }

  /**
   * The session's cookie. Its name and attributes are the manager's, its age is the session's own:
   * a `maxAge` makes that the session's timeouts and has the cookie last, null has it end with the
   * browser.
   */
  get cookie(): SessionCookie {
    const { meta, core } = this.#state;
    const lasts =
      meta && !meta.browserClose && (core.settings.cookie.persistent || meta.ownTimeouts);
    this.#cookie ??= new SessionCookie(
      core.settings,
      lasts ? meta.expires - Date.now() : undefined,
    );
    return this.#cookie;
  }

  /** Whether `save` has something to write. */
  override get isChanged(): boolean {
    return super.isChanged || (this.#cookie?.isChanged === true && this.#state.live);
  }

  /** Writes what was changed in `data`, and the age of the cookie. */
  override save(): Promise<void>;
  override save(callback: Callback): WebSession;
  override save(callback?: Callback): Promise<void> | WebSession {
    return this.#done(this.#save(), callback);
  }

  async #save(): Promise<void> {
    await super.save();
    const cookie = this.#cookie;
    if (!cookie?.isChanged || !this.#state.live) {
      return;
    }
    cookie.saved();
    this.#state.lasting = cookie.maxAge !== null;
    const seconds = Math.max(1, (cookie.originalMaxAge ?? 0) / 1000);
    await this.setExpiry(
      cookie.maxAge === null ? { untilBrowserClose: true } : { idle: seconds, absolute: seconds },
    );
  }

  /** Reads the session anew: the request then has another object. NoSessionError if it ended. */
  reload(): Promise<void>;
  reload(callback: Callback): WebSession;
  reload(callback?: Callback): Promise<void> | WebSession {
    return this.#done(this.#reload(), callback);
  }

  async #reload(): Promise<void> {
    const next = new RequestSession(this.#state, this.#holder);
    await next.load();
    if (!this.#state.live) {
      throw new NoSessionError("the session cannot be loaded: it is not there any more");
    }
    this.#holder.session = RequestSession.face(next);
  }

  /** Ends the session for good, and takes it off the request. */
  override destroy(): Promise<boolean>;
  override destroy(callback: Callback): WebSession;
  override destroy(callback?: Callback): Promise<boolean> | WebSession {
    this.#holder.session = undefined;
    return this.#done(super.destroy(), callback);
  }

  /**
   * Ends the session and gives the request a new, empty one, which is made by the first write.
   * Passport calls it at login and logout; `authenticate` keeps the fields and does better.
   */
  regenerate(): Promise<void>;
  regenerate(callback: Callback): WebSession;
  regenerate(callback?: Callback): Promise<void> | WebSession {
    return this.#done(this.#regenerate(), callback);
  }

  async #regenerate(): Promise<void> {
    try {
      await this.destroyKeepingData();
    } catch (error) {
      // It is no longer the request's. What may be written now is for the token to say.
      if (!(error instanceof GoneError || error instanceof SupersededError)) {
        throw error;
      }
    }
    const next = new RequestSession(this.#state, this.#holder);
    next.forgetData();
    this.#holder.session = RequestSession.face(next);
  }

  /** Has the cookie's `maxAge` begin anew. The store records activity by itself. */
  touch(): WebSession {
    this.#cookie?.reset();
    return this.#face;
  }

  /** Is `touch`. */
  resetMaxAge(): WebSession {
    return this.touch();
  }

  #done<T>(promise: Promise<T>, callback: Callback | undefined): Promise<T> | WebSession {
    if (!callback) {
      return promise;
    }
    // Outside of the promise, so that what the callback throws is not swallowed.
    const call = (error?: unknown) => queueMicrotask(() => callback(error));
    promise.then(() => call(), call);
    return this.#face;
  }
}

/** Shows the fields of `data` as properties of the session, unless it has such a member. */
class Face implements ProxyHandler<RequestSession> {
  readonly #state: RequestState;

  constructor(state: RequestState) {
    this.#state = state;
  }

  get(target: RequestSession, name: string | symbol): unknown {
    if (name === BEHIND) {
      return target;
    }
    this.#state.out.accessed = true;
    if (typeof name === "symbol" || name in target) {
      const member = Reflect.get(target, name, target);
      return typeof member === "function" && name !== "constructor" ? member.bind(target) : member;
    }
    // A promise asks for then, JSON.stringify for toJSON.
    return (name === "then" || name === "toJSON") && !target.isLoaded
      ? undefined
      : fields(target)[name];
  }

  set(target: RequestSession, name: string | symbol, value: unknown): boolean {
    if (typeof name === "symbol" || name === "data") {
      return Reflect.set(target, name, value, target);
    }
    if (name in target) {
      throw new TypeError(`session.${name} is taken: name the field session.data.${name}`);
    }
    return Reflect.set(fields(target), name, value);
  }

  has(target: RequestSession, name: string | symbol): boolean {
    return name in target || (target.isLoaded && Object.hasOwn(target.data, name));
  }

  deleteProperty(target: RequestSession, name: string | symbol): boolean {
    return !target.isLoaded || Reflect.deleteProperty(target.data, name);
  }

  ownKeys(target: RequestSession): string[] {
    this.#state.out.accessed = true;
    return target.isLoaded ? Object.keys(target.data) : [];
  }

  getOwnPropertyDescriptor(target: RequestSession, name: string | symbol) {
    return target.isLoaded ? Object.getOwnPropertyDescriptor(target.data, name) : undefined;
  }

  defineProperty(target: RequestSession, name: string | symbol, property: PropertyDescriptor) {
    return Reflect.defineProperty(fields(target), name, { ...property, configurable: true });
  }
}

// biome-ignore lint/suspicious/noExplicitAny: the app knows what its fields hold
function fields(session: RequestSession): Record<string, any> {
  return session.data;
}

/** Gets the name of a request's session. A WeakMap of requests would keep the collector busy. */
const IDENTIFY = Symbol("identify");

/** The same for all requests: objects with a getter of their own each are slow. */
const SESSION_ID = {
  configurable: true,
  get(this: Holder): string | undefined {
    return this[IDENTIFY]?.();
  },
};

/** A response under way, and how its request's session stands. */
export class Exchange implements Preparation {
  readonly #state: RequestState;
  readonly #holder: Holder;
  readonly #res: ServerResponse;
  /** Answers in the app's place when the session cannot be saved. */
  readonly failed: (error: unknown) => void;
  #hasFailed = false; // the response to the error is not to fail by it again

  /** @internal */
  constructor(
    state: RequestState,
    holder: Holder,
    res: ServerResponse,
    failed: (error: unknown) => void,
  ) {
    this.#state = state;
    this.#holder = holder;
    this.#res = res;
    this.failed = failed;
  }

  get #session(): RequestSession | undefined {
    return this.#holder.session?.[BEHIND as unknown as string];
  }

  /** Whether there is something to save or to find out before the headers go out. */
  isNeeded(): boolean {
    return !this.#hasFailed && (this.#state.unsettled !== undefined || isChanged(this.#session));
  }

  /** Saves what was changed, so that the headers can go out at once. */
  async run(): Promise<void> {
    if (this.#hasFailed) {
      return;
    }
    try {
      await this.#session?.save();
      await this.#state.settle();
    } catch (error) {
      this.#hasFailed = true;
      throw error;
    }
  }

  /** Says in the response what there is to say of the cookie. */
  begin(): void {
    addHeaders(this.#res, this.#state);
  }

  /** Takes in that the response goes out by other means, such as an upgrade: no cookie after that. */
  leave(): void {
    this.#state.out.begin();
  }
}

/**
 * Gives a request its session. What was changed in its data is written before the headers of the
 * response go out; `failed` answers if that fails.
 */
export async function open(
  manager: Manager,
  request: IncomingMessage,
  holder: Holder,
  res: ServerResponse,
  load: boolean,
  failed: (error: unknown) => void,
): Promise<Exchange> {
  const state = manager.stateOf(request);
  const session = new RequestSession(state, holder);
  if (load && !session.isLoaded) {
    await session.load();
  }
  give(manager, state, session, holder);
  loosenResponse(res);
  const exchange = new Exchange(state, holder, res, failed);
  beforeHeaders(res, exchange);
  return exchange;
}

/** Gives the request of an upgrade its session, which can set no cookie. */
export async function openUpgrade(
  manager: Manager,
  request: IncomingMessage,
  load: boolean,
): Promise<void> {
  const state = manager.stateOf(request);
  const session = new RequestSession(state, request as SessionRequest);
  state.out.begin();
  if (load && !session.isLoaded) {
    await session.load();
  }
  give(manager, state, session, request as SessionRequest);
}

function give(
  manager: Manager,
  state: RequestState,
  session: RequestSession,
  holder: Holder,
): void {
  loosenRequest(holder);
  holder.session = RequestSession.face(session);
  holder.sessionStore = manager;
  holder[IDENTIFY] = () => state.planned().toString("hex");
  Object.defineProperty(holder, "sessionID", SESSION_ID);
}

/** Whether there is something to save, or something that cannot be saved, which save says. */
function isChanged(session: RequestSession | undefined): boolean {
  try {
    return session?.isChanged ?? false;
  } catch (error) {
    if (error instanceof PazzoError) {
      return true;
    }
    throw error;
  }
}

/** Says in the response what there is to say of the cookie, once. */
function addHeaders(res: ServerResponse, { out, core }: RequestState): void {
  const { forget, accessed } = out;
  const offer = out.offer?.certain ? out.offer : undefined; // when in doubt, the browser's is good
  out.begin();
  if (offer || forget) {
    res.appendHeader("Set-Cookie", setCookie(core.settings, core.keys, offer));
    res.setHeader("Cache-Control", "no-store");
  }
  if (forget && core.settings.clearSiteData) {
    res.setHeader("Clear-Site-Data", '"cache", "storage"');
  }
  if (accessed || offer || forget) {
    varyByCookie(res);
  }
}

function varyByCookie(res: ServerResponse): void {
  const header = res.getHeader("Vary");
  if (header === undefined) {
    res.setHeader("Vary", "Cookie");
    return;
  }
  const vary = [header].flat().join(",");
  const names = vary.split(",").map((name) => name.trim().toLowerCase());
  if (!names.includes("*") && !names.includes("cookie")) {
    res.setHeader("Vary", vary ? `${vary}, Cookie` : "Cookie");
  }
}
