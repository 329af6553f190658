/**
 * The token: what the cookie holds.
 *
 *     base64url( handle 16 | generation 4 | secret 16 | mac 12 )
 *
 * in 64 characters without padding. The mac is the front of HMAC-SHA256(K, "pazzo token 1" |
 * handle | generation | secret), and K is HKDF-SHA256 of the secret key's UTF-8 bytes.
 */

import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from "node:crypto";

const BODY = 16 + 4 + 16;
const MAC = 12;
/** How many characters a token has. */
export const TOKEN_CHARS = ((BODY + MAC) * 4) / 3;
const SPELLING = /^[A-Za-z0-9_-]{64}$/;
const KEY_INFO = "pazzo token key 1";
const MAC_LABEL = "pazzo token 1";

/** A verified token. `handle` is public, `secret` is not. */
export interface Token {
  readonly handle: Buffer;
  readonly generation: number;
  readonly secret: Buffer;
}

/** Returns the name of a session that is to be made: 128 random bits. */
export const newHandle = (): Buffer => randomBytes(16);

/** Returns the secret of a new generation: 128 random bits. */
export const newSecret = (): Buffer => randomBytes(16);

/** HKDF-SHA256 (RFC 5869) of one secret key, without salt, 32 bytes. */
export function deriveKey(secretKey: string): Buffer {
  return Buffer.from(hkdfSync("sha256", Buffer.from(secretKey), "", KEY_INFO, 32));
}

/**
 * How many verified tokens a keyring remembers, of about 500 bytes each: a page's requests come at
 * nearly the same time, and a mac costs more than all else that a token does.
 */
const REMEMBERED = 1024;

/** Signs tokens with its first key and verifies them with all. */
export class Keyring {
  readonly #keys: readonly Buffer[];
  /** What the latest texts were verified as, which does not change. */
  readonly #verified = new Map<string, Candidate>();

  constructor(secretKeys: readonly string[]) {
    this.#keys = secretKeys.map(deriveKey);
  }

  /** Returns the token as text. */
  seal(token: Token): string {
    const body = Buffer.alloc(BODY);
    token.handle.copy(body, 0);
    body.writeUInt32BE(token.generation, 16);
    token.secret.copy(body, 20);
    return Buffer.concat([body, mac(this.#keys[0] as Buffer, body)]).toString("base64url");
  }

  /**
   * Verifies a text. Returns its token and whether it was signed with an older key than the first,
   * or undefined for anything that we did not make.
   */
  open(text: string): Candidate | undefined {
    const known = this.#verified.get(text);
    if (known || !SPELLING.test(text)) {
      return known;
    }
    const raw = Buffer.alloc(BODY + MAC); // not a part of a pool, which would be kept with it
    raw.write(text, "base64url");
    const body = raw.subarray(0, BODY);
    for (const [i, key] of this.#keys.entries()) {
      if (timingSafeEqual(mac(key, body), raw.subarray(BODY))) {
        return this.#remember(text, { token: tokenOf(body), old: i > 0 });
      }
    }
    return undefined;
  }

  #remember(text: string, candidate: Candidate): Candidate {
    for (const oldest of this.#verified.keys()) {
      if (this.#verified.size < REMEMBERED) {
        break;
      }
      this.#verified.delete(oldest);
    }
    // A copy, for a text cut out of a header keeps the header.
    this.#verified.set(Buffer.from(text).toString("latin1"), candidate);
    return candidate;
  }
}

/** A token of ours, and whether an older key than the first has signed it. */
export interface Candidate {
  readonly token: Token;
  readonly old: boolean;
}

function tokenOf(body: Buffer): Token {
  return {
    handle: body.subarray(0, 16),
    generation: body.readUInt32BE(16),
    secret: body.subarray(20),
  };
}

function mac(key: Buffer, body: Buffer): Buffer {
  return createHmac("sha256", key).update(MAC_LABEL).update(body).digest().subarray(0, MAC);
}
