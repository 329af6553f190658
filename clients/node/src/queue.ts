/** Has this process's contenders for one field of one session wait for one another. */

import { AsyncLocalStorage } from "node:async_hooks";
import { setTimeout as pause } from "node:timers/promises";
import { ConflictError } from "./errors";

/** How often a transaction is tried before it gives up. */
const MAX_ATTEMPTS = 64;
/** The wait in a queue is bounded, since queueing only spares conflicts. In ms. */
const MAX_QUEUEING = 1000;
const LAST_PAUSE = 20;

/** Where this call is at the head: an update nested in another of the same field must not wait. */
const heading = new AsyncLocalStorage<ReadonlySet<string>>();

/** The lines of one process. */
export class Queue {
  /** The end of each line: it resolves when all in it are done. */
  readonly #lines = new Map<string, Promise<unknown>>();

  /**
   * Runs an attempt until it does not collide. ConflictError is thrown after 64 attempts. It
   * queues up behind others for the same field from the start, and for several fields (name is
   * then empty), which may well not collide, when they have.
   */
  async retry<T>(handle: Buffer, name: string, attempt: () => Promise<T>): Promise<T> {
    const place = `${handle.toString("hex")} ${name}`;
    const nested = heading.getStore()?.has(place) ?? false;
    const within = new Set([...(heading.getStore() ?? []), place]);
    let leave: (() => void) | undefined;
    try {
      for (let n = 0; n < MAX_ATTEMPTS; n++) {
        if (!nested && n === (name ? 0 : 1)) {
          leave = await this.#join(place);
        }
        try {
          return await heading.run(within, attempt);
        } catch (error) {
          if (!(error instanceof ConflictError)) {
            throw error;
          }
        }
        await pause(Math.random() * Math.min(2 ** n / 10, LAST_PAUSE));
      }
    } finally {
      leave?.();
    }
    throw new ConflictError(`${MAX_ATTEMPTS} attempts have collided with other writers`);
  }

  /** Waits for those before, for a bounded time; returns what to call at the end. */
  async #join(place: string): Promise<() => void> {
    const before = this.#lines.get(place);
    let leave = () => {};
    const mine = new Promise<void>((resolve) => {
      leave = resolve;
    });
    const line = Promise.all([before, mine]).then(() => {
      if (this.#lines.get(place) === line) {
        this.#lines.delete(place);
      }
    });
    this.#lines.set(place, line);
    if (before) {
      const stop = new AbortController();
      await Promise.race([before, pause(MAX_QUEUEING, undefined, stop).catch(() => {})]);
      stop.abort();
    }
    return leave;
  }
}
