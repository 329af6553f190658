/**
 * Sends commands over node-redis, on one connection at a time, on which it pipelines.
 *
 * What may be sent again is decided by the store, so node-redis's reconnecting and its offline
 * queue are switched off: a client whose connection breaks is dropped with all that it holds, and
 * the next call makes another one.
 */

import { readFileSync } from "node:fs";
import { createClient, ErrorReply, RESP_TYPES } from "@redis/client";
import type { Config } from "./url";

/** There was no connection to send on, so nothing was executed. */
export class UnsentError extends Error {}

/** Contact was lost, or the time was over, after sending. */
export class LostError extends Error {}

/** A command and its arguments. */
export type Command = readonly (string | Buffer)[];

/** Texts come as buffers. The timeout is ours: node-redis would make a signal for each command. */
const REPLIES = { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer }, timeout: undefined };

/** The connection to one server. It connects at the first use. */
export class Transport {
  /** Is called when a connection that was in use is lost. */
  onLost: () => void = () => {};
  readonly #config: Config;
  #current: Promise<Connection> | undefined;
  #opened: Connection | undefined;

  constructor(config: Config) {
    this.#config = config;
  }

  /**
   * Sends a command and resolves with its reply. An error reply is given back, not thrown, and so is
   * an UnsentError or a LostError when there is no reply within the timeout.
   */
  send(command: Command): Promise<unknown> {
    const connection = this.#opened;
    return connection?.isUsable ? connection.send(command) : this.#connectAndSend(command);
  }

  async #connectAndSend(command: Command): Promise<unknown> {
    const connection = await this.#take();
    return connection instanceof Error ? connection : connection.send(command);
  }

  /** Sends two commands in one go, over the same connection. */
  async sendBoth(first: Command, second: Command): Promise<unknown[]> {
    const connection = await this.#take();
    return connection instanceof Error
      ? [connection, connection]
      : Promise.all([connection.send(first), connection.send(second)]);
  }

  /** Has the next call use another connection. This one ends with the calls that it has. */
  async reset(): Promise<void> {
    const connection = await this.#current?.catch(() => undefined);
    if (connection) {
      this.#retire(connection);
    }
  }

  /** Returns a connection that can be used, or why there is none. */
  async #take(): Promise<Connection | Error> {
    const current = await this.#current?.catch(() => undefined);
    if (current?.isUsable) {
      return current;
    }
    if (current) {
      this.#retire(current);
    }
    this.#current ??= this.#connect();
    return this.#current.catch((error: Error) => error);
  }

  async #connect(): Promise<Connection> {
    const connection = new Connection(this.#config);
    try {
      await connection.open();
    } catch (error) {
      this.#current = undefined;
      throw new UnsentError(why(error), { cause: error });
    }
    connection.onFailure = () => this.#retire(connection);
    connection.onEnd = () => {
      this.#retire(connection);
      this.onLost();
    };
    this.#opened = connection;
    return connection;
  }

  #retire(connection: Connection): void {
    connection.retire();
    if (this.#opened === connection) {
      this.#opened = this.#current = undefined;
    }
  }
}

/** One connection. It is closed when it is retired and its last call is over. */
class Connection {
  onEnd: () => void = () => {};
  /** Is called when a call has failed: this connection is not to be trusted any more. */
  onFailure: () => void = () => {};
  readonly #client: ReturnType<typeof clientOf>;
  readonly #timeout: number;
  readonly #deadlines: Deadlines;
  #calls = 0;
  #retired = false;

  constructor(config: Config) {
    this.#client = clientOf(config);
    this.#timeout = config.timeout;
    this.#deadlines = new Deadlines(config.timeout);
    // node-redis wants to be heard; what has failed is told to the calls.
    this.#client.on("error", () => {});
    this.#client.on("terminated", () => !this.#retired && this.onEnd());
  }

  get isUsable(): boolean {
    return this.#client.isReady && !this.#retired;
  }

  async open(): Promise<void> {
    try {
      await within(this.#timeout, this.#client.connect());
    } catch (error) {
      this.#client.destroy();
      throw error;
    }
  }

  /**
   * Resolves with the reply, be it an error, or with a failure. It is one promise beside node-redis's
   * own, for most of what a call costs is its promises.
   */
  send(command: Command): Promise<unknown> {
    if (!this.isUsable) {
      return Promise.resolve(new UnsentError("the connection has just been closed"));
    }
    this.#calls++;
    return new Promise((resolve) => {
      const over = (reply: unknown) => this.#over(call, resolve, reply);
      const call = this.#deadlines.add(over);
      this.#client.sendCommand(command, REPLIES).then(over, over);
    });
  }

  #over(call: Pending, resolve: (reply: unknown) => void, reply: unknown): void {
    if (call.isOver) {
      return;
    }
    this.#deadlines.end(call);
    this.#calls--;
    if (reply instanceof Error && !(reply instanceof ErrorReply)) {
      this.onFailure();
      resolve(new LostError(why(reply), { cause: reply }));
    } else {
      resolve(reply);
    }
    this.#closeIfIdle();
  }

  retire(): void {
    this.#retired = true;
    this.#closeIfIdle();
  }

  #closeIfIdle(): void {
    if (this.#retired && this.#calls === 0) {
      this.#client.destroy();
    }
  }
}

function clientOf(config: Config) {
  const { host, port, path, secure, ca, timeout, username, password, db } = config;
  const shared = { connectTimeout: timeout, reconnectStrategy: false as const };
  const tcp = { ...shared, host, port };
  const tls = { ...tcp, tls: true as const, ...(ca ? { ca: readFileSync(ca) } : {}) };
  return createClient({
    RESP: 2,
    disableOfflineQueue: true,
    maintNotifications: "disabled",
    database: db,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    socket: path === undefined ? (secure ? tls : tcp) : { ...shared, path },
  });
}

/** A call under way, in the order of their deadlines. */
interface Pending {
  readonly end: number;
  readonly late: (error: Error) => void;
  isOver: boolean;
}

/** Bounds the calls of one connection, which all have the same timeout, by one timer. */
class Deadlines {
  readonly #timeout: number;
  readonly #pending: Pending[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** The timeout is in ms. */
  constructor(timeout: number) {
    this.#timeout = timeout;
  }

  /** Has *late* called when the time is over, unless the call has ended. */
  add(late: (error: Error) => void): Pending {
    const call = { end: performance.now() + this.#timeout, late, isOver: false };
    this.#pending.push(call);
    this.#watch();
    return call;
  }

  /** Takes in that a call is over, and forgets those that are, from the oldest on. */
  end(call: Pending): void {
    call.isOver = true;
    while (this.#pending[0]?.isOver) {
      this.#pending.shift();
    }
  }

  #watch(): void {
    const first = this.#pending[0];
    if (!first || this.#timer) {
      return;
    }
    this.#timer = setTimeout(
      // After a busy time of this process, an answer may be here that has not been looked at.
      () => setImmediate(() => setImmediate(() => this.#expire())),
      first.end - performance.now(),
    );
    this.#timer.unref(); // the connection keeps the process going
  }

  #expire(): void {
    this.#timer = undefined;
    const now = performance.now();
    for (let first = this.#pending[0]; first && first.end <= now; first = this.#pending[0]) {
      first.late(new Error(`no answer within ${this.#timeout} ms`));
    }
    this.#watch();
  }
}

/** Returns what a promise gives, or throws after so many ms. */
async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const end = () => reject(new Error(`no answer within ${ms} ms`));
    // After a busy time of this process, an answer may be here that has not been looked at.
    timer = setTimeout(() => setImmediate(() => setImmediate(end)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
    promise.catch(() => {}); // it may fail later, when nobody listens any more
  }
}

/** Returns an error's words without what Redis quotes of a command: it may be a secret. */
export function why(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error);
  return text.replace(/,? with args beginning with[\s\S]*/, "");
}
