/** Gives requests their sessions, and manages the sessions of users. */

import type { IncomingMessage } from "node:http";
import type { Access, Batch, Part } from "./batch";
import * as b from "./batch";
import { Visit } from "./cookies";
import { OptionsError, TokenError } from "./errors";
import type { Info } from "./info";
import { warn } from "./log";
import { type Options, type Settings, settingsOf } from "./options";
import { Queue } from "./queue";
import { Session } from "./session";
import { RequestState } from "./state";
import { Store } from "./store";
import { Keyring, newSecret } from "./token";
import { parseUrl } from "./url";
import { Users } from "./users";
import type { Reply } from "./wire";

/** What the parts of the package share. */
export class Core {
  readonly settings: Settings;
  readonly keys: Keyring;
  readonly store: Store;
  readonly queue = new Queue();
  readonly users = new Users(this);
  /** The absolute timeout, in ms. */
  readonly absolute: number;
  /** How long a tombstone is kept, in ms. */
  readonly keep: number;

  constructor(url: string, options: Options) {
    this.settings = settingsOf(options);
    this.keys = new Keyring(this.settings.secretKeys);
    this.store = new Store(parseUrl(url));
    this.absolute = Math.round(this.settings.timeouts.absolute * 1000);
    this.keep = Math.round(this.settings.keepTombstones * 1000);
    this.#warn();
  }

  #warn(): void {
    if (this.settings.insecureHttp) {
      warn(
        "INSECURE: insecureHttp is set: session cookies travel in the clear and can be stolen. " +
          "Use it in development only.",
      );
    }
    if (this.settings.secretKeys.some((key) => Buffer.byteLength(key) < 32)) {
      warn(
        "INSECURE: a secret key has less than 32 bytes: whoever guesses it can forge tokens. Move " +
          "to a longer one; `pazzo secret` makes one.",
      );
    }
  }

  /** Applies a batch within the limits of the options. */
  apply(handle: Buffer, batch: Batch, access: Access): Promise<Reply> {
    return this.store.apply(handle, batch, access, this.settings.limits);
  }

  /** Returns the operation that makes a session. */
  creation(): Part {
    const idle = Math.round(this.settings.timeouts.idle * 1000);
    return b.create(newSecret(), idle, this.absolute);
  }
}

/** The sessions of one store. Nothing is connected before the first use. */
export class Manager {
  /** @internal */
  readonly core: Core;

  /**
   * *url* names the store: `redis://host:port/db`, `rediss://…`, `pazzo://host:port` or
   * `unix:///path`, with `?prefix=` and `?timeout=`; see url.ts. OptionsError is thrown when an
   * option or the URL is invalid.
   */
  constructor(url: string, options: Options) {
    this.core = new Core(url, options);
    // Not enumerable, so that no log shows the secret keys.
    Object.defineProperty(this, "core", { enumerable: false });
  }

  /** @internal Returns how a request stands to its session. */
  stateOf(request: Pick<IncomingMessage, "headers">): RequestState {
    const { settings, keys } = this.core;
    return new RequestState(this.core, Visit.of(request.headers, settings.cookie.name, keys));
  }

  /**
   * Returns the session of a token, without a request. An empty token stands for a visitor without
   * a session: the first write makes one. `Session.sealedToken` is the token to hand back. TokenError is
   * thrown when the token was not made with one of our keys.
   */
  acquire(token = ""): Session {
    const candidate = token ? this.core.keys.open(token) : undefined;
    if (token && !candidate) {
      throw new TokenError("the token was not made with one of our keys");
    }
    return new Session(new RequestState(this.core, Visit.detached(candidate)));
  }

  /** Returns the live sessions of a user, the oldest login first. */
  sessions(user: string): Promise<Info[]> {
    return this.core.users.sessions(user);
  }

  /** Destroys a session by its handle; tells whether there was one. */
  async revoke(handle: string): Promise<boolean> {
    return this.core.users.revoke(handleOf(handle));
  }

  /**
   * Destroys all sessions of a user but those to keep; returns how many it ended. Logins under way
   * are included; a later one is not hindered. If some could not be ended, the others have been,
   * and the error says why: call it again. MayEvictError says that the store may have lost the
   * user's list.
   */
  async revokeAll(user: string, keep: readonly string[] = []): Promise<number> {
    return this.core.users.revokeAll(user, keep.map(handleOf));
  }

  /**
   * Ends all sessions of a user and refuses logins, until `unblock`. It lasts as long as that many
   * seconds or the absolute timeout, whichever is longer: for an account that was disabled. Errors
   * are those of `revokeAll`.
   */
  async block(user: string, seconds = 0): Promise<void> {
    await this.core.users.block(user, Math.max(Math.round(seconds * 1000), this.core.absolute));
  }

  /** Permits logins of the user again. */
  unblock(user: string): Promise<void> {
    return this.core.users.unblock(user);
  }

  /** Closes the connection; a later call opens a new one. */
  close(): Promise<void> {
    return this.core.store.close();
  }
}

function handleOf(text: string): Buffer {
  if (!/^[0-9a-f]{32}$/.test(text)) {
    throw new OptionsError("a handle has 32 lower-case hexadecimal digits");
  }
  return Buffer.from(text, "hex");
}
