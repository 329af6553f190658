/**
 * Values of fields, as JSON that every language reads.
 *
 * null, booleans, numbers, strings, BigInt, arrays, plain objects and whatever has `toJSON` (a Date
 * becomes its ISO text) can be written. Refused with an EncodeError, before anything is sent: NaN,
 * infinities, halves of surrogate pairs, functions, symbols, Map, Set and other objects that JSON
 * would empty, undefined in an array. A member that is undefined is left out, as in JSON.stringify.
 *
 * Whole numbers beyond ±(2^53−1) are read as BigInt; a number with a fraction or an exponent is
 * read as a number, or not at all (DecodeError) if it is beyond 2^53 and would be rounded. The
 * types that other languages tag, as in `{"$date":"2026-11-24"}`, are read and written as the
 * objects that they are. `Session.text` returns the text as it was written.
 */

import { isUtf8 } from "node:buffer";
import { randomUUID } from "node:crypto";
import { DecodeError, EncodeError } from "./errors";

/** Returns the JSON text of a value, or throws an EncodeError that names the field. */
export function encode(field: string, value: unknown): string {
  try {
    return write(value, "");
  } catch (error) {
    throw new EncodeError(`cannot encode the field ${JSON.stringify(field)}: ${reason(error)}`);
  }
}

/** What stands in a text in place of what is not UTF-8. */
const REPLACEMENT = "\ufffd";

/** Returns the value of a JSON text, or throws a DecodeError that names the field. */
export function decode(field: string, text: Buffer): unknown {
  const plain = text.toString();
  if (plain.includes(REPLACEMENT) && !isUtf8(text)) {
    throw new DecodeError(field, "it is not UTF-8");
  }
  try {
    return SUSPICIOUS.test(plain) ? readExactly(plain) : JSON.parse(plain);
  } catch (error) {
    // The words of a SyntaxError quote the value, which does not belong into logs.
    throw new DecodeError(field, error instanceof RangeError ? reason(error) : "it is not JSON");
  }
}

/**
 * Returns a JSON text without white space between its parts. An EncodeError that names the field
 * is thrown for what is not JSON (RFC 8259), and for halves of surrogate pairs.
 */
export function compact(field: string, text: string): string {
  try {
    JSON.parse(text, wellFormed);
  } catch {
    throw new EncodeError(`cannot store the field ${JSON.stringify(field)}: it is not JSON`);
  }
  return text.replace(/("(?:[^"\\]|\\.)*")|[ \t\r\n]+/g, "$1");
}

function wellFormed(this: unknown, key: string, value: unknown): unknown {
  if (!key.isWellFormed() || (typeof value === "string" && !value.isWellFormed())) {
    throw new TypeError("half of a surrogate pair");
  }
  return value;
}

function reason(error: unknown): string {
  if (error instanceof RangeError && /call stack/.test(error.message)) {
    return "it is nested too deep";
  }
  return error instanceof Error ? error.message : "it has no JSON form";
}

function write(value: unknown, key: string): string {
  if (typeof value === "object" && value !== null) {
    return writeObject(value, key);
  }
  if (typeof value === "string") {
    if (!value.isWellFormed()) {
      throw new TypeError("a string has half of a surrogate pair");
    }
    return JSON.stringify(value);
  }
  if (typeof value === "number" && !Number.isFinite(value)) {
    throw new TypeError(`${value} has no JSON form`);
  }
  if (typeof value === "bigint" || typeof value === "number" || typeof value === "boolean") {
    return Object.is(value, -0) ? "0" : String(value);
  }
  if (value === null) {
    return "null";
  }
  throw new TypeError(`${typeof value} has no JSON form`);
}

function writeObject(value: object, key: string): string {
  const { toJSON } = value as { toJSON?: unknown };
  if (typeof toJSON === "function") {
    return write(toJSON.call(value, key), key);
  }
  if (Array.isArray(value)) {
    return `[${Array.from(value, (item, i) => write(item, String(i))).join(",")}]`;
  }
  if (value instanceof Number || value instanceof String || value instanceof Boolean) {
    return write(value.valueOf(), key);
  }
  if (!EMPTIED.every((type) => !(value instanceof type)) || ArrayBuffer.isView(value)) {
    throw new TypeError(`a ${value.constructor.name} has no JSON form`);
  }
  const members = Object.entries(value).filter(([, item]) => item !== undefined);
  return `{${members.map(([name, item]) => `${write(name, "")}:${write(item, name)}`).join(",")}}`;
}

/** What JSON.stringify makes `{}` of, whatever is in it. */
const EMPTIED = [Map, Set, WeakMap, WeakSet, Promise, RegExp, Error, ArrayBuffer];

/** Texts that may hold a number which JSON.parse would round: it has 16 digits or an exponent. */
const SUSPICIOUS = /[0-9]{16}|[0-9][eE]/;
const PARTS = /"(?:[^"\\]|\\.)*"|-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?/g;
/** Marks numbers that JSON.parse is not to see; no text can have it by chance. */
const MARK = `pazzo ${randomUUID()} `;

function readExactly(text: string): unknown {
  JSON.parse(text); // the grammar, before anything is replaced
  const marked = text.replace(PARTS, (part, fraction, exponent) =>
    part.startsWith('"') || isKept(part, fraction || exponent) ? part : `"${MARK}${part}"`,
  );
  return JSON.parse(marked, (_, value) =>
    typeof value === "string" && value.startsWith(MARK) ? BigInt(value.slice(MARK.length)) : value,
  );
}

/** Whether JSON.parse keeps a number. RangeError is thrown if nothing here does. */
function isKept(text: string, broken: string | undefined): boolean {
  const number = Number(text);
  if (Number.isSafeInteger(number)) {
    return true;
  }
  if (!broken) {
    return false;
  }
  if (Math.abs(number) > Number.MAX_SAFE_INTEGER && digits(text) !== digits(String(number))) {
    throw new RangeError("a number in it does not fit; text() has its digits");
  }
  return true;
}

/** Returns a number's decimal digits and its magnitude, however it is spelled. */
function digits(text: string): string {
  const [mantissa = "", exponent = "0"] = text.replace(/^-/, "").toLowerCase().split("e");
  const [whole = "", fraction = ""] = mantissa.split(".");
  const all = (whole + fraction).replace(/^0+/, "");
  const significant = all.replace(/0+$/, "");
  return `${significant} ${Number(exponent) - fraction.length + all.length - significant.length}`;
}
