/** Options. The default of every one but `secretKeys` is the safe one. Durations are in seconds. */

import { type Limits, MAX_NAME, MAX_SESSIONS, MAX_TIMEOUT, USUAL_LIMITS } from "./batch";
import { OptionsError } from "./errors";
import { TOKEN_CHARS } from "./token";

const MIN_KEY = 32;
const MAX_COOKIE = 4096; // bytes of name and value, ASVS 5.0 3.3.5
const LONGEST = MAX_TIMEOUT / 1000;

/**
 * How long a session lasts, in seconds. Activity is recorded at most once per tenth of `idle`, so
 * that a session may end after 0.9 of it. `absolute` is the time in all, whatever the activity.
 */
export interface Timeouts {
  readonly idle: number;
  readonly absolute: number;
}

/** NIST SP 800-63B-4, section 2: timeouts of authentication assurance level 1. */
export const AAL1: Timeouts = { idle: 30 * 24 * 3600, absolute: 30 * 24 * 3600 };
/** Timeouts of authentication assurance level 2: an hour idle, a day in all. */
export const AAL2: Timeouts = { idle: 3600, absolute: 24 * 3600 };
/** Timeouts of authentication assurance level 3. */
export const AAL3: Timeouts = { idle: 15 * 60, absolute: 12 * 3600 };

/** The cookie. It is Secure but for `Options.insecureHttp`. */
export interface CookieOptions {
  /**
   * `__Host-session` by default, `__Secure-session` with a domain or another path, and `session`
   * with `insecureHttp`.
   */
  readonly name?: string;
  readonly domain?: string;
  /** `/` by default. */
  readonly path?: string;
  /** `Lax` by default. */
  readonly sameSite?: "Lax" | "Strict" | "None";
  readonly partitioned?: boolean;
  /** Keeps the cookie over a restart of the browser, at most 400 days. */
  readonly persistent?: boolean;
  /** Off only for sites that have switched it off already: scripts can then read the token. */
  readonly httpOnly?: boolean;
}

/** What a Manager is set up with. */
export interface Options {
  /**
   * Texts of at least 32 bytes, the same in every app that shares the sessions. The first signs
   * tokens, all verify them.
   */
  readonly secretKeys: readonly string[];
  readonly cookie?: CookieOptions;
  /** `AAL2` by default. */
  readonly timeouts?: Timeouts;
  /**
   * `"live"`, each read asks the store, or `"request"`, one load serves the request, whose own
   * writes are seen.
   */
  readonly reads?: "live" | "request";
  /** Renews the token at this interval, from 60 s; 0, the default: never. */
  readonly rotateEvery?: number;
  /** How long the token before stays good once the new one was seen: 1 to 300 s, by default 15. */
  readonly rotateGrace?: number;
  /** The cap on one user's sessions: 1 to 10,000, the default. */
  readonly maxPerUser?: number;
  /** What a login over the cap does: `"evict"` the oldest session, the default, or `"refuse"`. */
  readonly whenFull?: "evict" | "refuse";
  /** Permits the cap, `revokeAll` and `block` on a store that may evict lists. */
  readonly bestEffortUsers?: boolean;
  /** Lets only navigations, and clients that send no Sec-Fetch headers, create a session. */
  readonly createOnNavigation?: boolean;
  /**
   * How long a destroyed session is remembered, at least as long as the longest request: 1 s to a
   * day, by default 60 s.
   */
  readonly keepTombstones?: number;
  /** Has a logout tell the browser to drop what it stored. */
  readonly clearSiteData?: boolean;
  /**
   * What becomes of a field that was changed in `session.data` and has been written by somebody
   * else meanwhile: `"error"`, the default (StaleFieldError), or `"overwrite"`.
   */
  readonly staleFields?: "error" | "overwrite";
  readonly limits?: Partial<Limits>;
  /** Drops Secure and the name's prefix, for plain http in development. */
  readonly insecureHttp?: boolean;
  /** Permits shorter secret keys. */
  readonly insecureShortKey?: boolean;
}

/** Options with every default filled in. */
export interface Settings extends Required<Omit<Options, "cookie" | "limits">> {
  readonly cookie: Required<CookieOptions>;
  readonly limits: Limits;
}

/** Returns options with the defaults filled in, or throws an OptionsError that names each problem. */
export function settingsOf(options: Options): Settings {
  const known = new Set(Object.keys(DEFAULTS));
  const wrong = Object.keys(options)
    .filter((name) => !known.has(name))
    .map((name) => `${name} is no option: ${[...known].join(", ")} are`);
  const insecure = options.insecureHttp ?? false;
  const cookie = { ...DEFAULTS.cookie, ...options.cookie };
  const settings: Settings = {
    ...DEFAULTS,
    ...given(options),
    cookie: { ...cookie, name: cookie.name || usualName(cookie, insecure) },
    limits: { ...USUAL_LIMITS, ...options.limits },
  };
  wrong.push(...problemsOf(settings), ...cookieProblems(settings.cookie, insecure));
  if (wrong.length) {
    throw new OptionsError(`invalid options:\n${wrong.join("\n")}`);
  }
  return settings;
}

const DEFAULTS: Settings = {
  secretKeys: [],
  cookie: {
    name: "",
    domain: "",
    path: "/",
    sameSite: "Lax",
    partitioned: false,
    persistent: false,
    httpOnly: true,
  },
  timeouts: AAL2,
  reads: "live",
  rotateEvery: 0,
  rotateGrace: 15,
  maxPerUser: MAX_SESSIONS,
  whenFull: "evict",
  bestEffortUsers: false,
  createOnNavigation: false,
  keepTombstones: 60,
  clearSiteData: false,
  staleFields: "error",
  limits: USUAL_LIMITS,
  insecureHttp: false,
  insecureShortKey: false,
};

/** Leaves out what is undefined, so that it does not hide a default. */
const given = (options: Options): Partial<Settings> =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));

function problemsOf(s: Settings): string[] {
  const most = { name: MAX_NAME, value: 64 << 20, fields: 1 << 20, size: 256 << 20 };
  const tops = Object.entries(most) as [keyof Limits, number][];
  return [
    ...keyProblems(s),
    ...outside("timeouts.idle", s.timeouts.idle, 1, LONGEST),
    ...outside("timeouts.absolute", s.timeouts.absolute, 1, LONGEST),
    ...(s.timeouts.idle > s.timeouts.absolute
      ? [`timeouts.idle is ${s.timeouts.idle}, longer than timeouts.absolute`]
      : []),
    ...(s.rotateEvery ? outside("rotateEvery", s.rotateEvery, 60, LONGEST) : []),
    ...outside("rotateGrace", s.rotateGrace, 1, 300),
    ...outside("keepTombstones", s.keepTombstones, 1, 24 * 3600),
    ...outside("maxPerUser", s.maxPerUser, 1, MAX_SESSIONS),
    ...tops.flatMap(([name, top]) => outside(`limits.${name}`, s.limits[name], 1, top)),
    ...noneOf("reads", s.reads, ["live", "request"]),
    ...noneOf("whenFull", s.whenFull, ["evict", "refuse"]),
    ...noneOf("staleFields", s.staleFields, ["error", "overwrite"]),
  ];
}

function keyProblems({ secretKeys, insecureShortKey }: Settings): string[] {
  const texts = Array.isArray(secretKeys) && secretKeys.every((key) => typeof key === "string");
  if (!texts || secretKeys.length === 0) {
    return ["secretKeys: give a list of one text or more; `pazzo secret` makes one"];
  }
  const least = insecureShortKey ? 1 : MIN_KEY;
  return secretKeys
    .map((key) => Buffer.byteLength(key))
    .flatMap((size, i) =>
      size < least
        ? [
            `secretKeys[${i}] has ${size} bytes: at least ${MIN_KEY} are needed ` +
              "(insecureShortKey permits fewer, but not none)",
          ]
        : [],
    );
}

const outside = (name: string, value: number, least: number, most: number): string[] =>
  typeof value === "number" && value >= least && value <= most
    ? []
    : [`${name} is ${value}: ${least} to ${most} is allowed`];

const noneOf = (name: string, value: string, allowed: string[]): string[] =>
  allowed.includes(value) ? [] : [`${name} is ${value}: ${allowed.join(" and ")} are allowed`];

function usualName({ domain, path }: CookieOptions, insecure: boolean): string {
  if (insecure) {
    return "session";
  }
  return domain || path !== "/" ? "__Secure-session" : "__Host-session";
}

function cookieProblems(c: Required<CookieOptions>, insecure: boolean): string[] {
  const wrong = noneOf("cookie.sameSite", c.sameSite, ["Lax", "Strict", "None"]);
  const check = (bad: boolean, text: string) => bad && wrong.push(text);
  const name = `cookie.name ${JSON.stringify(c.name)}`;
  const spelled = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(c.name);
  check(
    !spelled || c.name.length + TOKEN_CHARS > MAX_COOKIE,
    `${name}: a token of RFC 6265, section 4.1.1, is needed`,
  );
  check(
    !/^\/[ -:<-~]*$/.test(c.path),
    `cookie.path ${JSON.stringify(c.path)}: it must begin with / and have no ;`,
  );
  check(
    c.domain !== "" && !/^\.?[0-9A-Za-z]([0-9A-Za-z.-]*[0-9A-Za-z])?$/.test(c.domain),
    `cookie.domain ${JSON.stringify(c.domain)}: a host's name is needed`,
  );
  check(
    /^__host-/i.test(c.name) && (c.domain !== "" || c.path !== "/"),
    `${name} needs path / and no domain (RFC 6265bis)`,
  );
  check(
    insecure && /^__(host|secure)-/i.test(c.name),
    `${name} needs Secure, which insecureHttp drops`,
  );
  check(
    insecure && (c.sameSite === "None" || c.partitioned),
    "cookie.sameSite None and cookie.partitioned need Secure, which insecureHttp drops",
  );
  return wrong;
}
