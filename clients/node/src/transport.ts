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
   * Sends commands in one go and returns their replies; an error reply is returned, not thrown.
   * UnsentError or LostError is thrown when that is not possible within the timeout.
   */
  async send(...commands: Command[]): Promise<unknown[]> {
    const connection = this.#opened?.isUsable ? this.#opened : await this.#take();
    try {
      return await connection.send(commands, this.#config.timeout);
    } catch (error) {
      this.#retire(connection);
      throw error;
    }
  }

  /** Has the next call use another connection. This one ends with the calls that it has. */
  async reset(): Promise<void> {
    const connection = await this.#current?.catch(() => undefined);
    if (connection) {
      this.#retire(connection);
    }
  }

  async #take(): Promise<Connection> {
    const current = await this.#current?.catch(() => undefined);
    if (current?.isUsable) {
      return current;
    }
    if (current) {
      this.#retire(current);
    }
    this.#current ??= this.#connect();
    return this.#current;
  }

  async #connect(): Promise<Connection> {
    const connection = new Connection(this.#config);
    try {
      await connection.open(this.#config.timeout);
    } catch (error) {
      this.#current = undefined;
      throw new UnsentError(why(error), { cause: error });
    }
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
  readonly #client: ReturnType<typeof clientOf>;
  readonly #deadlines = new Deadlines();
  #calls = 0;
  #retired = false;

  constructor(config: Config) {
    this.#client = clientOf(config);
    // node-redis wants to be heard; what has failed is told to the calls.
    this.#client.on("error", () => {});
    this.#client.on("terminated", () => !this.#retired && this.onEnd());
  }

  get isUsable(): boolean {
    return this.#client.isReady && !this.#retired;
  }

  async open(timeout: number): Promise<void> {
    try {
      await within(timeout, this.#client.connect());
    } catch (error) {
      this.#client.destroy();
      throw error;
    }
  }

  async send(commands: Command[], timeout: number): Promise<unknown[]> {
    if (!this.isUsable) {
      throw new UnsentError("the connection has just been closed");
    }
    this.#calls++;
    try {
      return await this.#deadlines.within(timeout, () => this.#replies(commands));
    } catch (error) {
      throw new LostError(why(error), { cause: error });
    } finally {
      this.#calls--;
      this.#closeIfIdle();
    }
  }

  retire(): void {
    this.#retired = true;
    this.#closeIfIdle();
  }

  #replies([command, ...others]: Command[]): Promise<unknown[]> {
    const first = this.#reply(command as Command);
    if (others.length === 0) {
      return first.then((reply) => [reply]);
    }
    return Promise.all([first, ...others.map((other) => this.#reply(other))]);
  }

  #reply(command: Command): Promise<unknown> {
    return this.#client.sendCommand(command, REPLIES).catch(errorReply);
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

/** Returns an error reply; throws any other error. */
function errorReply(error: unknown): ErrorReply {
  if (error instanceof ErrorReply) {
    return error;
  }
  throw error;
}

/** A call under way, in the order of their deadlines. */
interface Pending {
  readonly end: number;
  readonly late: () => void;
  over: boolean;
}

/** Bounds the calls of one connection, which all have the same timeout, by one timer. */
class Deadlines {
  readonly #pending: Pending[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** Returns what a call gives, or rejects after so many ms. */
  within<T>(ms: number, call: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const late = () => reject(new Error(`no answer within ${ms} ms`));
      const pending = { end: performance.now() + ms, late, over: false };
      const over = () => {
        pending.over = true;
        this.#forget();
      };
      call().then(resolve, reject).then(over, over);
      this.#pending.push(pending);
      this.#watch();
    });
  }

  /** Forgets the calls that are over, from the oldest on. */
  #forget(): void {
    while (this.#pending[0]?.over) {
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
      () => setImmediate(() => setImmediate(() => this.#end())),
      first.end - performance.now(),
    );
    this.#timer.unref(); // the connection keeps the process going
  }

  #end(): void {
    this.#timer = undefined;
    const now = performance.now();
    for (let first = this.#pending[0]; first && first.end <= now; first = this.#pending[0]) {
      this.#pending.shift();
      first.late();
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
