/**
 * Does work before a response's headers go out, asynchronous work too: what the app sends
 * meanwhile is held back, in order.
 */

import type { OutgoingHttpHeader, ServerResponse } from "node:http";

/** What is to be done before the headers go out. */
export interface Preparation {
  /** Whether there is asynchronous work. Not after it has failed. */
  isNeeded(): boolean;
  /** Does it. If it fails, nothing that the app has sent goes out. */
  run(): Promise<void>;
  /** Adds headers, at the last moment. */
  begin(): void;
  /** Answers in the app's place after work that failed. */
  failed(error: unknown): void;
}

/** Headers that describe a body which is not sent after all. */
const OF_BODY = [
  "content-type",
  "content-length",
  "content-encoding",
  "transfer-encoding",
  "etag",
  "last-modified",
];

/** Has the preparation done when the app begins to respond. */
export function beforeHeaders(res: ServerResponse, preparation: Preparation): void {
  const gate = new Gate(res, preparation);
  const { writeHead, write, end, flushHeaders } = res as unknown as Record<string, Method>;
  res.writeHead = (status: number, ...rest: unknown[]) => {
    if (rest.length === 0) {
      gate.pass(writeHead as Method, [status]);
      return res;
    }
    const message = typeof rest[0] === "string" ? [rest[0]] : [];
    // Ours are added to the app's headers, which writeHead would put in place of all others.
    setHeaders(res, typeof rest[0] === "string" ? rest[1] : rest[0]);
    res.statusCode = status;
    gate.pass(writeHead as Method, [status, ...message]);
    return res;
  };
  res.write = (...args: unknown[]) => Boolean(gate.pass(write as Method, args));
  res.end = (...args: unknown[]) => {
    gate.pass(end as Method, args);
    return res;
  };
  res.flushHeaders = () => {
    gate.pass(flushHeaders as Method, []);
  };
}

type Method = (...args: unknown[]) => unknown;

/** Lets calls of a response's methods through once the preparation is done. */
class Gate {
  readonly #res: ServerResponse;
  readonly #preparation: Preparation;
  readonly #held: [Method, unknown[]][] = [];
  #stage: "closed" | "held" | "open" = "closed";

  constructor(res: ServerResponse, preparation: Preparation) {
    this.#res = res;
    this.#preparation = preparation;
  }

  /** Makes a call and returns its result, or holds it back and returns undefined. */
  pass(method: Method, args: unknown[]): unknown {
    if (this.#stage === "closed") {
      this.#begin();
    }
    if (this.#stage === "open") {
      return method.apply(this.#res, args);
    }
    this.#held.push([method, args]);
    return undefined;
  }

  #begin(): void {
    if (this.#res.headersSent) {
      this.#stage = "open"; // by other means than ours
    } else if (!this.#preparation.isNeeded()) {
      this.#open();
    } else {
      this.#stage = "held";
      // The app has responded, as far as it can tell.
      Object.defineProperty(this.#res, "headersSent", { configurable: true, value: true });
      this.#preparation.run().then(
        () => this.#release(),
        (error) => this.#fail(error),
      );
    }
  }

  #open(): void {
    this.#stage = "open";
    this.#preparation.begin();
  }

  #release(): void {
    Reflect.deleteProperty(this.#res, "headersSent");
    this.#open();
    for (const [method, args] of this.#held) {
      method.apply(this.#res, args);
    }
    if (!this.#res.writableEnded && !this.#res.writableNeedDrain) {
      this.#res.emit("drain"); // held writes have asked their writers to wait
    }
  }

  #fail(error: unknown): void {
    Reflect.deleteProperty(this.#res, "headersSent");
    this.#stage = "closed";
    this.#held.length = 0;
    this.#res.statusCode = 200;
    for (const name of OF_BODY) {
      this.#res.removeHeader(name);
    }
    this.#preparation.failed(error);
  }
}

/** Sets the headers of a writeHead: an object, a flat list of names and values, or of pairs. */
function setHeaders(res: ServerResponse, headers: unknown): void {
  if (!headers) {
    return;
  }
  if (!Array.isArray(headers)) {
    for (const [name, value] of Object.entries(headers as Record<string, OutgoingHttpHeader>)) {
      if (value !== undefined) {
        res.setHeader(name, value);
      }
    }
    return;
  }
  const flat = headers.flat() as string[];
  for (let i = 0; i < flat.length; i += 2) {
    res.removeHeader(flat[i] as string);
  }
  for (let i = 0; i < flat.length; i += 2) {
    res.appendHeader(flat[i] as string, String(flat[i + 1]));
  }
}
