/**
 * The errors of the package, by the names that the Go library gives them. Each has `status`, the
 * HTTP status that suits it when nobody handles it; Express and Fastify answer with it.
 */

/** The base of all errors of this package. No message holds a token, a value or a password. */
export class PazzoError extends Error {
  /** The HTTP status that suits the error. */
  readonly status: number = 500;

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }

  /** Is `status`, under the name that Fastify reads. */
  get statusCode(): number {
    return this.status;
  }
}

/** Options or a store URL are invalid. The text names each problem and what is allowed. */
export class OptionsError extends PazzoError {}

/** The token was not made with one of our keys. */
export class TokenError extends PazzoError {}

/** There is no session here: the middleware or plugin is missing. */
export class NoSessionError extends PazzoError {}

/** The operations do not go together, or an operand is invalid. Nothing was sent. */
export class BatchError extends PazzoError {}

/** A write finds that the session has been destroyed. */
export class GoneError extends PazzoError {
  override readonly status = 409;
}

/**
 * A write comes with a token from before a privilege change, such as a login. The request may be
 * repeated with the new cookie.
 */
export class SupersededError extends PazzoError {
  override readonly status = 409;
}

/** A call needs to set the cookie and the response has started. Nothing was changed. */
export class ResponseStartedError extends PazzoError {}

/** Only a navigation may create a session (`Options.createOnNavigation`). */
export class NotNavigationError extends PazzoError {
  override readonly status = 403;
}

/** A call that changes the session as a whole is made inside `atomically`. */
export class InTransactionError extends PazzoError {}

/** What was read has been changed by somebody else. Nothing was changed. */
export class ConflictError extends PazzoError {
  override readonly status: number = 409;
}

/**
 * Fields that were changed in `session.data` are no longer what they were when they were read.
 * They keep what somebody else has written; other changed fields have been written.
 */
export class StaleFieldError extends ConflictError {
  constructor(
    /** The names of the fields. */
    readonly fields: readonly string[],
  ) {
    super(`changed in data here and written elsewhere meanwhile: ${fields.join(", ")}`);
  }
}

/** A field's value does not decode. It spoils that field only; `Session.text` returns its text. */
export class DecodeError extends PazzoError {
  constructor(
    /** The name of the field. */
    readonly field: string,
    why: string,
  ) {
    super(`cannot decode the field ${JSON.stringify(field)}: ${why}`);
  }
}

/** A value has no JSON form that every language reads. Nothing was sent. */
export class EncodeError extends PazzoError {
  override readonly status = 400;
}

/** `add` meets a field that is not an integer. */
export class NotIntegerError extends PazzoError {
  override readonly status = 400;
}

/** The operand or the sum of `add` is beyond ±(2^53−1). */
export class OutOfRangeError extends PazzoError {
  override readonly status = 400;
}

/** `append` or `drain` meets a field that is not an array. */
export class NotListError extends PazzoError {
  override readonly status = 400;
}

/** A field's name is not 1–256 bytes of valid UTF-8 without a leading NUL. */
export class FieldNameError extends PazzoError {
  override readonly status = 400;
}

/** A name, a value or the record would pass its limit. Nothing was changed. */
export class TooLargeError extends PazzoError {
  override readonly status = 413;
}

/** The user is blocked. */
export class BlockedError extends PazzoError {
  override readonly status = 403;
}

/** The user has `Options.maxPerUser` sessions, and `Options.whenFull` is `"refuse"`. */
export class TooManySessionsError extends PazzoError {
  override readonly status = 403;
}

/**
 * The store may evict sessions and lists, so that a user's sessions may be missed. For Redis, set
 * `maxmemory-policy noeviction`, or accept it with `Options.bestEffortUsers`.
 */
export class MayEvictError extends PazzoError {}

/** The base of the errors of the store. None is ever taken for an empty session. */
export class StoreError extends PazzoError {
  override readonly status: number = 503;
}

/** The store cannot be reached or refuses. Nothing was changed. */
export class UnavailableError extends StoreError {}

/** The store has no room. Nothing was changed. */
export class FullError extends UnavailableError {}

/**
 * Contact was lost during a write: it may or may not have been executed. Pazzo never repeats a
 * write by itself.
 */
export class OutcomeUnknownError extends StoreError {}

/** The session was written by a newer version of Pazzo. It is left as it is. */
export class LayoutError extends StoreError {
  override readonly status = 500;
}

/** The store holds something that is not a session. It is left as it is. */
export class CorruptError extends StoreError {
  override readonly status = 500;
}
