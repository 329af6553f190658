/**
 * The fields of a session in the app's hands: `session.data`, what it was loaded from, and what
 * has been changed since. One encoder's texts are compared with one another: another language's
 * may differ without any change.
 */

import { DecodeError } from "./errors";
import { decode, encode } from "./values";

/** A field that was changed: what it held when it was read, and what it is to hold, if anything. */
export interface Change {
  readonly name: string;
  readonly before: Buffer | undefined;
  readonly text: string | undefined;
}

// biome-ignore lint/suspicious/noExplicitAny: the app knows what its fields hold
export type Fields = Record<string, any>;

/** A copy of a session's fields. */
export class Data {
  readonly #texts: Map<string, Buffer>;
  /** Made when the app asks for it: before that, nothing can have been changed. */
  #fields: Fields | undefined;
  /** What fields were shown as, of those that nobody can change from within. */
  readonly #shown = new Map<string, unknown>();

  /** The texts are the copy's own from then on. */
  constructor(texts: Map<string, Buffer> = new Map()) {
    this.#texts = texts;
  }

  /** The fields, for the app to change. */
  get fields(): Fields {
    if (!this.#fields) {
      this.#fields = {};
      for (const [name, text] of this.#texts) {
        this.#show(this.#fields, name, text);
      }
    }
    return this.#fields;
  }

  /** The texts of all fields, as they were read or written. */
  get texts(): ReadonlyMap<string, Buffer> {
    return this.#texts;
  }

  /** Takes in what a field holds now; undefined if it was removed. */
  wrote(name: string, text: Buffer | undefined): void {
    if (text) {
      this.#texts.set(name, text);
    } else {
      this.#texts.delete(name);
    }
    if (this.#fields && text) {
      this.#show(this.#fields, name, text);
    } else if (this.#fields) {
      delete this.#fields[name];
    }
  }

  /** Takes in that changes were written, or are not to be. The values stay in the app's hands. */
  saved(changes: readonly Change[]): void {
    for (const { name, text } of changes) {
      this.#shown.delete(name);
      if (text === undefined) {
        this.#texts.delete(name);
      } else {
        this.#texts.set(name, Buffer.from(text));
      }
    }
  }

  /** Returns what was changed. EncodeError is thrown for a value that has no JSON form. */
  changes(): Change[] {
    if (!this.#fields) {
      return [];
    }
    const changes: Change[] = [];
    const take = (name: string) => {
      const change = this.change(name);
      if (change) {
        changes.push(change);
      }
    };
    for (const name of this.#texts.keys()) {
      take(name);
    }
    for (const name of Object.keys(this.#fields)) {
      if (!this.#texts.has(name)) {
        take(name);
      }
    }
    return changes;
  }

  /** Returns the change of one field, if there is one. */
  change(name: string): Change | undefined {
    if (!this.#fields) {
      return undefined;
    }
    const shown = this.#shown.get(name);
    if (shown !== undefined && Object.is(this.#fields[name], shown)) {
      return undefined; // which spares it being encoded
    }
    const before = this.#texts.get(name);
    const property = Object.getOwnPropertyDescriptor(this.#fields, name);
    if (property?.get) {
      return undefined; // it does not decode
    }
    if (property?.value === undefined) {
      return before && { name, before, text: undefined };
    }
    const text = encode(name, property.value);
    const same = before && (before.equals(Buffer.from(text)) || text === again(name, before));
    return same ? undefined : { name, before, text };
  }

  /** Puts a field into the app's hands. One that does not decode says so when it is used. */
  #show(fields: Fields, name: string, text: Buffer): void {
    this.#shown.delete(name);
    try {
      const value = decode(name, text);
      put(fields, name, value);
      if (typeof value !== "object") {
        this.#shown.set(name, value);
      }
    } catch (error) {
      if (!(error instanceof DecodeError)) {
        throw error;
      }
      Object.defineProperty(fields, name, {
        configurable: true,
        get: () => {
          throw error;
        },
        set: (value) => put(fields, name, value),
      });
    }
  }
}

/** Sets a property, whatever its name is and what it was before. */
function put(fields: Fields, name: string, value: unknown): void {
  if (!(name in fields)) {
    fields[name] = value; // which costs a fraction
    return;
  }
  Object.defineProperty(fields, name, {
    configurable: true,
    enumerable: true,
    writable: true,
    value,
  });
}

/** Returns this encoder's text of a value that another may have encoded, if it decodes. */
function again(name: string, text: Buffer): string | undefined {
  try {
    return encode(name, decode(name, text));
  } catch {
    return undefined;
  }
}

/** Returns the text of a list with one more item, as append splices it, if it is a list. */
export function spliced(list: Buffer | undefined, item: string): Buffer | undefined {
  const text = list?.toString() ?? "[]";
  if (!text.startsWith("[") || !text.endsWith("]")) {
    return undefined;
  }
  return Buffer.from(text === "[]" ? `[${item}]` : `${text.slice(0, -1)},${item}]`);
}
