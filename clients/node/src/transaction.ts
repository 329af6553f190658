/**
 * Transactions: reads and writes of several fields, all or nothing.
 *
 *     await session.atomically((tx) => {
 *       tx.set("to", tx.get("to") + tx.get("from"));
 *       tx.set("from", 0);
 *     });
 *
 * The session is read once, at the beginning; the writes are applied as one batch at the end, on
 * condition that every field that was read is still what it was, or the whole session if its
 * fields were listed.
 */

import type { Part } from "./batch";
import * as b from "./batch";
import { BatchError } from "./errors";
import { decode, encode } from "./values";
import type { Reply } from "./wire";

/** The session as a transaction sees it. */
export class Transaction {
  readonly #base: ReadonlyMap<string, Buffer>;
  readonly #revision: number;
  readonly #read = new Set<string>();
  /** What each written field becomes; undefined if it is removed. */
  readonly #written = new Map<string, { text: string; value: unknown } | undefined>();
  /** Operations that read nothing. */
  readonly #blind = new Map<string, Part>();
  #cleared = false;
  #listed = false;

  /** @internal */
  constructor(loaded: Reply) {
    this.#base = loaded.fields;
    this.#revision = loaded.revision;
  }

  /** Returns a field's value, or undefined. A change in place of it is not written. */
  // biome-ignore lint/suspicious/noExplicitAny: the app knows what its fields hold
  get(name: string): any {
    this.#notBlind(name);
    if (this.#written.has(name)) {
      return this.#written.get(name)?.value;
    }
    if (this.#cleared) {
      return undefined;
    }
    this.#read.add(name);
    const text = this.#base.get(name);
    return text && decode(name, text);
  }

  /** Whether a field is there. */
  has(name: string): boolean {
    return this.get(name) !== undefined;
  }

  /** Returns the names of all fields, sorted. The whole session must then stay as it is. */
  names(): string[] {
    this.#listed = true;
    const names = new Set([...(this.#cleared ? [] : this.#base.keys()), ...this.#blind.keys()]);
    for (const [name, is] of this.#written) {
      is ? names.add(name) : names.delete(name);
    }
    return [...names].sort();
  }

  /** Gives a field a value. EncodeError is thrown for one that has no JSON form. */
  set(name: string, value: unknown): void {
    this.#notBlind(name);
    this.#written.set(name, { text: encode(name, value), value });
  }

  /** Removes a field. */
  delete(name: string): void {
    this.#notBlind(name);
    this.#written.set(name, undefined);
  }

  /** Removes all fields. */
  clear(): void {
    this.#cleared = true;
    this.#written.clear();
    this.#blind.clear();
  }

  /** Adds to an integer when the transaction is applied, without reading it. */
  add(name: string, number: number | bigint = 1): void {
    this.#blindly(name, b.add(name, number));
  }

  /** Adds a value to a list when the transaction is applied, without reading it. */
  append(name: string, value: unknown): void {
    this.#blindly(name, b.append(name, encode(name, value)));
  }

  #blindly(name: string, op: Part): void {
    if (this.#written.has(name) || this.#read.has(name) || this.#blind.has(name)) {
      throw new BatchError(`the transaction has read or written ${JSON.stringify(name)} already`);
    }
    this.#blind.set(name, op);
  }

  #notBlind(name: string): void {
    if (this.#blind.has(name)) {
      throw new BatchError(
        `the transaction adds to ${JSON.stringify(name)}, whose value it cannot know`,
      );
    }
  }

  /** @internal Returns what is to be written. Removals make room for what follows. */
  ops(): Part[] {
    const removed = [...this.#written].filter(([, is]) => !is).map(([name]) => b.remove(name));
    const set = [...this.#written].flatMap(([name, is]) => (is ? [b.set(name, is.text)] : []));
    return [...(this.#cleared ? [b.clear()] : removed), ...set, ...this.#blind.values()];
  }

  /** @internal Returns what must still hold. */
  conditions(): Part[] {
    return this.#listed
      ? [b.revisionIs(this.#revision)]
      : [...this.#read].sort().map((name) => b.fieldIs(name, this.#base.get(name)));
  }
}
