/**
 * Store URLs:
 *
 *     redis://[user:password@]host[:port][/db]       Redis or Valkey
 *     rediss://…                                     the same over TLS
 *     pazzo://[user:password@]host:port[/db]         an agent
 *     unix://[user:password@]/path[?db=0]            an agent, or Redis, on a socket
 *
 * Parameters: `prefix` of all keys (`pazzo:`), `timeout` of a call, such as 500ms (1 s), and for
 * rediss `ca`, a file with certificates to verify the server by. Sentinel and Cluster are reached
 * through an agent.
 */

import { OptionsError } from "./errors";

/** What a store URL says. */
export interface Config {
  readonly host: string;
  readonly port: number;
  /** Of a Unix socket, in place of host and port. */
  readonly path: string | undefined;
  readonly secure: boolean;
  readonly ca: string | undefined;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly db: number;
  readonly prefix: string;
  /** Of a call, in ms. */
  readonly timeout: number;
}

const SCHEMES = ["redis", "rediss", "pazzo", "unix"];
const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000 };
const HOST = /^(\[[0-9A-Fa-f:.]+\]|[^[\]:@/?#\s,]+)(?::([0-9]+))?$/;
/** What setTimeout can wait, ms. */
const LONGEST = 2 ** 31 - 1;

/** Reads a store URL. The text of an OptionsError never holds a password. */
export function parseUrl(url: string): Config {
  const [, scheme = "", rest = ""] = /^([^:]*):\/\/([\s\S]*)$/.exec(url) ?? [];
  if (/^rediss?\+(sentinel|cluster)$/.test(scheme)) {
    throw wrong(`${scheme} is not spoken by this client: run a pazzo agent in front of it`);
  }
  if (!SCHEMES.includes(scheme)) {
    throw wrong(`the scheme must be one of ${SCHEMES.join(", ")}`);
  }
  if (rest.includes("#")) {
    throw wrong("it has a fragment (#…); in a password, write %23");
  }
  const [place = "", query = ""] = split(rest, "?");
  const parameters = readParameters(query, scheme);
  return {
    ...(scheme === "unix" ? socketOf(place, parameters) : hostOf(place)),
    secure: scheme === "rediss",
    ca: parameters.get("ca") || undefined,
    prefix: prefixOf(parameters.get("prefix") ?? ""),
    timeout: timeoutOf(parameters.get("timeout") ?? ""),
  };
}

type Place = Pick<Config, "host" | "port" | "path" | "username" | "password" | "db">;

function hostOf(place: string): Place {
  const [authority = "", path = ""] = split(place, "/");
  const { hosts, ...user } = userOf(authority);
  const [, host = "", port = "6379"] = HOST.exec(hosts) ?? [];
  if (!host || Number(port) < 1 || Number(port) > 65535) {
    throw wrong(`${JSON.stringify(hosts)} is not host or host:port`);
  }
  return {
    ...user,
    host: host.replace(/^\[|\]$/g, ""),
    port: Number(port),
    path: undefined,
    db: dbOf(path || "0"),
  };
}

function socketOf(place: string, parameters: Map<string, string>): Place {
  const at = place.indexOf("/");
  const { hosts, ...user } = userOf(place.slice(0, Math.max(at, 0)));
  if (hosts || at < 0 || at === place.length - 1) {
    throw wrong("a socket's URL is unix:///path");
  }
  const db = dbOf(parameters.get("db") ?? "");
  return { ...user, host: "", port: 0, path: decoded(place.slice(at)), db };
}

function userOf(authority: string): { hosts: string } & Pick<Config, "username" | "password"> {
  const at = authority.lastIndexOf("@");
  const [name = "", password] = split(authority.slice(0, Math.max(at, 0)), ":");
  return {
    hosts: authority.slice(at + 1),
    username: decoded(name) || undefined,
    password: password === undefined ? undefined : decoded(password),
  };
}

function dbOf(text: string): number {
  if (!/^[0-9]{1,6}$/.test(text)) {
    throw wrong(`the database ${JSON.stringify(text)} is not a number`);
  }
  return Number(text);
}

function prefixOf(prefix: string): string {
  if (!prefix.endsWith(":") || /[{}]/.test(prefix)) {
    throw wrong(`prefix ${JSON.stringify(prefix)}; it must end in ":" and have no braces`);
  }
  return prefix;
}

function timeoutOf(text: string): number {
  const [, number = "0", unit = "ms"] = /^([0-9]+(?:\.[0-9]+)?)(ms|s|m)$/.exec(text) ?? [];
  const timeout = Number(number) * (UNITS[unit] ?? 0);
  if (timeout < 1 || timeout > LONGEST) {
    throw wrong(`timeout ${JSON.stringify(text)}; from 1ms to 24 days, such as 500ms or 2s`);
  }
  return timeout;
}

function readParameters(query: string, scheme: string): Map<string, string> {
  const values = new Map([
    ["prefix", "pazzo:"],
    ["timeout", "1s"],
  ]);
  if (scheme === "unix") {
    values.set("db", "0");
  }
  if (scheme === "rediss") {
    values.set("ca", "");
  }
  const seen = new Set<string>();
  for (const [name, value] of new URLSearchParams(query)) {
    if (!values.has(name)) {
      const allowed = [...values.keys()].join(", ");
      throw wrong(`unknown parameter ${JSON.stringify(name)}; allowed here are ${allowed}`);
    }
    if (!value || seen.has(name)) {
      throw wrong(`parameter ${name} is empty or given twice`);
    }
    seen.add(name);
    values.set(name, value);
  }
  return values;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw wrong("a % is not followed by two hexadecimal digits; write %25 for it");
  }
}

/** Splits a text at the first separator. The second part is undefined if there is none. */
function split(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

function wrong(why: string): OptionsError {
  return new OptionsError(`invalid store URL: ${why}`);
}
