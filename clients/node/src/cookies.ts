/** What a session reads of a request, and what it says in the response. */

import type { IncomingHttpHeaders } from "node:http";
import type { Settings } from "./options";
import type { Candidate, Keyring, Token } from "./token";

/** How many of a request's tokens are tried with the store. */
const CANDIDATES = 3;
const MAX_AGE = 400 * 24 * 3600;

/** What a session needs to know of its HTTP request. */
export class Visit {
  /** Whether the browser says that it is going to a page. */
  readonly navigation: boolean;
  /** Whether it may be a visitor's first, rather than one of the many of a page. */
  readonly mayBeFirst: boolean;

  private constructor(
    readonly candidates: readonly Candidate[],
    headers: IncomingHttpHeaders,
  ) {
    const { "sec-fetch-mode": mode, "sec-fetch-site": site, "sec-fetch-dest": dest } = headers;
    this.navigation = mode === "navigate";
    this.mayBeFirst = this.navigation || !(mode || site || dest);
  }

  /** Reads a request's headers. */
  static of(headers: IncomingHttpHeaders, name: string, keys: Keyring): Visit {
    return new Visit(candidatesIn(headers.cookie ?? "", name, keys), headers);
  }

  /** Stands for work without a request, such as a message's. */
  static detached(candidate: Candidate | undefined): Visit {
    return new Visit(candidate ? [candidate] : [], {});
  }
}

/** Returns the tokens in a Cookie header, in its order, without repetitions. */
function candidatesIn(line: string, name: string, keys: Keyring): Candidate[] {
  const found: Candidate[] = [];
  for (const value of new Set(cookieValues(line, name))) {
    const candidate = keys.open(value);
    if (candidate) {
      found.push(candidate);
    }
    if (found.length === CANDIDATES) {
      break;
    }
  }
  return found;
}

/** Returns the values that a Cookie header gives to a name (RFC 6265, section 5.4). */
export function cookieValues(line: string, name: string): string[] {
  const values: string[] = [];
  for (const pair of line.split(";")) {
    const at = pair.indexOf("=");
    if (at >= 0 && trimmed(pair.slice(0, at)) === name) {
      values.push(trimmed(pair.slice(at + 1)).replace(/^"(.*)"$/, "$1"));
    }
  }
  return values;
}

/** Returns a text without the spaces and tabs around it. Most have one or none. */
function trimmed(text: string): string {
  let [start, end] = [0, text.length];
  while (isBlank(text.charCodeAt(start))) {
    start++;
  }
  while (end > start && isBlank(text.charCodeAt(end - 1))) {
    end--;
  }
  return text.slice(start, end);
}

const isBlank = (code: number): boolean => code === 0x20 || code === 0x09;

/**
 * The cookie that a response is to set. With `certain` off the browser's own token is good as
 * well, so that it is left alone when in doubt. `left` is the time until the session's absolute
 * end, in ms; `lasting` has the cookie outlive the browser's session.
 */
export interface Offer {
  readonly token: Token;
  readonly certain: boolean;
  readonly lasting: boolean;
  readonly left: number;
}

/** What a session has to say in its response: one cookie at most, the last word. */
export class Outgoing {
  /** Whether the response depends on the cookie. */
  accessed = false;
  #started = false;
  #forget = false;
  #offer: Offer | undefined;

  get started(): boolean {
    return this.#started;
  }

  get forget(): boolean {
    return this.#forget;
  }

  get offer(): Offer | undefined {
    return this.#offer;
  }

  /** Has the response set a cookie, if that is still possible. */
  set(offer: Offer): void {
    const before = this.#offer;
    if (this.#started) {
      return;
    }
    let { certain } = offer;
    if (before?.token.handle.equals(offer.token.handle)) {
      if (offer.token.generation < before.token.generation) {
        return; // this request has renewed it meanwhile
      }
      certain ||= before.certain;
    }
    this.#offer = { ...offer, certain };
    this.#forget = false;
  }

  /** Has the response delete the cookie, if that is still possible. */
  delete(): void {
    if (!this.#started) {
      this.#offer = undefined;
      this.#forget = true;
    }
  }

  /** Takes an offer back, or is sure of it, unless there is another one by now. */
  settle(offer: Offer, current: boolean): void {
    if (this.#offer === offer) {
      this.#offer = current ? { ...offer, certain: true } : undefined;
    }
  }

  /** Closes the response to further cookies. */
  begin(): void {
    this.#started = true;
  }
}

/** Renders a Set-Cookie header; without an offer it deletes the cookie. */
export function setCookie(settings: Settings, keys: Keyring, offer: Offer | undefined): string {
  const c = settings.cookie;
  return [
    `${c.name}=${offer ? keys.seal(offer.token) : ""}`,
    `Path=${c.path}`,
    c.domain && `Domain=${c.domain.replace(/^\./, "")}`,
    offer ? offer.lasting && `Max-Age=${maxAge(offer)}` : "Max-Age=0",
    c.httpOnly && "HttpOnly",
    !settings.insecureHttp && "Secure",
    `SameSite=${c.sameSite}`,
    c.partitioned && "Partitioned",
  ]
    .filter(Boolean)
    .join("; ");
}

/** Returns how long a lasting cookie lasts, in seconds. */
const maxAge = (offer: Offer): number =>
  Math.max(1, Math.min(Math.floor(offer.left / 1000), MAX_AGE));
