/**
 * How one request stands to its session: opens it, makes it, renews it, ends it. The fields and
 * their values are in fields.ts.
 */

import * as b from "./batch";
import { Batch, Reason } from "./batch";
import { type Offer, Outgoing, type Visit } from "./cookies";
import {
  ConflictError,
  GoneError,
  NotIntegerError,
  NotListError,
  NotNavigationError,
  OutOfRangeError,
  ResponseStartedError,
  StoreError,
  SupersededError,
  TooLargeError,
} from "./errors";
import { Lock } from "./lock";
import { happened, trouble } from "./log";
import type { Core } from "./manager";
import type { Settings } from "./options";
import { type Candidate, newHandle, newSecret, type Token } from "./token";
import { type Meta, Reply, Status, textOf, type Value } from "./wire";

/**
 * How long, in ms, a superseded token keeps a navigation from beginning a new session: the browser
 * may have lost the response with its new cookie, and after that time nothing is in flight any more.
 */
const SUPERSEDED_FOR = 60_000;
const REFUSALS = new Set<number>([Status.absent, Status.ended, Status.superseded, Status.exists]);

/** What the request's tokens have turned out to be. */
type Standing = "unopened" | "none" | "live" | "superseded" | "ended";

/** One request's way to its session. It makes one session at most, until it destroys it. */
export class RequestState {
  readonly out = new Outgoing();
  /** Held while a token is tried, a record made or a user logged in. */
  readonly opening = new Lock();
  /** The token that came with the request, or undefined. */
  readonly first: Token | undefined;
  standing: Standing = "unopened";
  /** The meta data as last answered. */
  meta: Meta | undefined;
  isNew = false;
  /** Whether the cookie is to outlive the browser's session, whatever the options say. */
  lasting = false;
  #current: Token;
  #untried: readonly Candidate[];
  /** Why the session ended, whether this request has ended it, and how old the floor is, ms. */
  #refusal = { reason: 0, own: false, age: 0 };

  constructor(
    readonly core: Core,
    readonly visit: Visit,
  ) {
    this.#untried = visit.candidates;
    this.first = visit.candidates[0]?.token;
    this.#current = this.first ?? nobodys();
  }

  /** Whether the request has opened or made a session, which it still holds. */
  get live(): boolean {
    return this.standing === "live";
  }

  /** The token of the session, or of the one that the request would make. */
  get current(): Token {
    return this.#current;
  }

  /** Applies a batch. A write that finds no session makes one, if it may. */
  async do(batch: Batch): Promise<Reply> {
    const reply = this.live ? await this.#doHeld(batch, false) : undefined;
    // Another call may have opened it while this one waited.
    return reply ?? this.opening.run(() => this.doAlone(batch));
  }

  /** Is `do` for calls that change the session as a whole, under `opening`. */
  async doAlone(batch: Batch): Promise<Reply> {
    const reply = this.live ? await this.#doHeld(batch, true) : undefined;
    return reply ?? this.#open(batch);
  }

  /** Applies a batch to an open session; undefined if there is none, or not any more. */
  async #doHeld(batch: Batch, alone: boolean): Promise<Reply | undefined> {
    const token = this.#current;
    const reply = await this.core.apply(token.handle, batch, b.held(token));
    if (!REFUSALS.has(reply.status)) {
      this.meta = reply.meta ?? this.meta;
      if (this.#touchIsDue(reply)) {
        await this.#touch();
      }
      return checked(batch, reply, this.core.settings);
    }
    const refuse = async () => {
      if (this.live && sameToken(this.#current, token)) {
        this.refuse(token.handle, reply);
      }
    };
    // A renewal by this request may be under way.
    await (alone ? refuse() : this.opening.run(refuse));
    return undefined;
  }

  /** Tries the tokens with the batch itself: a first write costs one round trip. */
  async #open(batch: Batch): Promise<Reply> {
    for (let candidate = this.#untried[0]; candidate !== undefined; candidate = this.#untried[0]) {
      const { token } = candidate;
      const reply = await this.core.apply(token.handle, batch, b.opening(token));
      this.#untried = this.#untried.slice(1);
      if (!REFUSALS.has(reply.status)) {
        this.#untried = []; // when it ends, the request must not go on in another
        this.#current = candidate.token;
        if (reply.meta) {
          await this.#opened(candidate, reply, reply.meta);
        } // else destroyed by this batch
        return checked(batch, reply, this.core.settings);
      }
      // Of several, the first that was ever good decides what the request may do.
      if (this.standing === "unopened" || this.standing === "none") {
        this.refuse(token.handle, reply);
      }
    }
    return this.#withoutSession(batch);
  }

  async #opened(candidate: Candidate, reply: Reply, meta: Meta): Promise<void> {
    this.standing = "live";
    this.meta = meta;
    if (this.#rotationIsDue(candidate, reply, meta) && (await this.#rotate(candidate))) {
      return;
    }
    if (candidate.old || candidate.token.generation !== meta.generation) {
      this.issue(reply, false);
    }
    if (this.#touchIsDue(reply)) {
      await this.#touch();
    }
  }

  /** Whether it is time for another generation and the cookie can still be set. */
  #rotationIsDue({ token }: Candidate, { now }: Reply, meta: Meta): boolean {
    const { rotateEvery } = this.core.settings;
    const due = rotateEvery > 0 && now - meta.renewed >= rotateEvery * 1000;
    return due && token.generation === meta.generation && !this.out.started;
  }

  /**
   * Begins a generation; tells whether the store has answered. One of several concurrent requests
   * wins; the others adopt its token.
   */
  async #rotate({ token, old }: Candidate): Promise<boolean> {
    const grace = Math.round(this.core.settings.rotateGrace * 1000);
    const rotation = b.rotate(token.generation, newSecret(), grace);
    const reply = await this.#beside("rotate the token", new Batch([rotation, b.touch()]), token);
    if (reply?.status !== Status.ok) {
      return false;
    }
    if (reply.value().found) {
      happened("rotated", token.handle);
    }
    await this.#touched(reply, reply.value(1));
    if (reply.liveMeta().generation !== token.generation || old) {
      this.issue(reply, false);
    }
    return true;
  }

  /** Applies a batch whose trouble is only told: the call that it follows has succeeded. */
  async #beside(what: string, batch: Batch, token: Token): Promise<Reply | undefined> {
    try {
      return await this.core.apply(token.handle, batch, b.held(token));
    } catch (error) {
      if (!(error instanceof StoreError)) {
        throw error;
      }
      trouble(`cannot ${what}`, token.handle, error);
      return undefined;
    }
  }

  /** Has the response set the cookie to the current generation's token. */
  issue(reply: Reply, certain: boolean): void {
    const meta = reply.liveMeta();
    const { generation, secret } = meta;
    const token = { handle: this.#current.handle, generation, secret };
    const { persistent } = this.core.settings.cookie;
    const lasting = (persistent || this.lasting) && !meta.browserClose;
    this.out.set({ token, certain, lasting, left: meta.deadline - reply.now });
  }

  /** Sets the standing after a status that opens nothing. */
  refuse(handle: Buffer, reply: Reply): void {
    if (reply.status === Status.superseded) {
      this.standing = "superseded";
      const age = reply.now - reply.liveMeta().floorTime;
      this.#refusal = { reason: 0, own: false, age };
      happened("refused, superseded", handle);
    } else if (reply.status === Status.ended) {
      this.standing = "ended";
      this.#refusal = { reason: reply.reason, own: false, age: 0 };
      happened("refused, ended", handle);
    } else {
      this.standing = "none";
    }
  }

  /** Answers a batch when no token opens a session; makes one if it must be. */
  async #withoutSession(batch: Batch): Promise<Reply> {
    if (this.standing === "unopened") {
      this.standing = "none";
    }
    const nothing = new Reply(Status.ok, batch.ops.length);
    if (batch.readsOnly) {
      return nothing;
    }
    this.#mayWrite();
    if (batch.conditions.some(expectsSession)) {
      throw new ConflictError("the session is not what was read");
    }
    if (!batch.keepsSomething) {
      return nothing;
    }
    const { createOnNavigation } = this.core.settings;
    if (this.standing === "none" && createOnNavigation && !this.visit.mayBeFirst) {
      throw new NotNavigationError("only a navigation may create a session");
    }
    return this.create(batch);
  }

  /** Throws unless a write may begin a new session, whatever the tokens were. */
  #mayWrite(): void {
    const { reason, own, age } = this.#refusal;
    if (this.standing === "superseded" && (!this.visit.navigation || age < SUPERSEDED_FOR)) {
      throw new SupersededError("the token has been superseded by a newer one");
    }
    const mayBegin = own || (reason !== Reason.replaced && this.visit.mayBeFirst);
    if (this.standing === "ended" && !mayBegin) {
      throw new GoneError("the session has ended");
    }
  }

  /** Makes a session with the batch's operations. `opening` is held. */
  async create(batch: Batch): Promise<Reply> {
    if (this.out.started) {
      throw new ResponseStartedError("a session cannot be made: the response has started");
    }
    const handle = this.planned();
    const whole = new Batch([this.core.creation(), ...batch.ops]);
    const reply = await this.core.apply(handle, whole, b.AS_ADMIN);
    checked(whole, reply, this.core.settings);
    this.begin(handle, reply);
    happened("created", handle);
    reply.values.shift();
    return reply;
  }

  /** Returns the handle of the session that the request has, or would make. */
  planned(): Buffer {
    const refused = this.standing !== "unopened" && !this.live && this.#current.generation !== 0;
    if (refused) {
      this.#current = nobodys();
    }
    return this.#current.handle;
  }

  /** Takes in that this request has made a session. */
  begin(handle: Buffer, reply: Reply): void {
    this.meta = reply.liveMeta();
    this.standing = "live";
    this.isNew = true;
    this.#refusal = { reason: 0, own: false, age: 0 };
    this.#current = { handle, generation: this.meta.generation, secret: this.meta.secret };
    this.issue(reply, true);
  }

  /** Takes in that this request has begun a generation. */
  renewed(reply: Reply): void {
    this.meta = reply.liveMeta();
    const { generation, secret } = this.meta;
    this.#current = { handle: this.#current.handle, generation, secret };
    this.issue(reply, true);
  }

  /** Ends the session; tells whether there was one. `opening` is held. */
  async destroy(reason: number): Promise<boolean> {
    const { keep } = this.core;
    const reply = await this.doAlone(new Batch([b.destroy(reason, keep)]));
    if (!reply.value().found) {
      return false;
    }
    const { handle } = this.#current;
    const user = textOf(reply.value().text);
    this.standing = "ended";
    this.#refusal = { reason, own: true, age: 0 };
    this.#current = nobodys();
    this.isNew = false;
    this.meta = undefined;
    this.out.delete();
    happened("destroyed", handle);
    if (user) {
      await this.core.users.unlist(user, [handle]);
    }
    return true;
  }

  #touchIsDue({ meta, now }: Reply): boolean {
    return this.live && meta?.touchDue(now) === true;
  }

  async #touch(): Promise<void> {
    const touch = await this.#beside("record activity", new Batch([b.touch()]), this.#current);
    if (touch?.status === Status.ok) {
      await this.#touched(touch, touch.value());
    }
  }

  /** Refreshes the user's list after a touch, which heals one that was lost. */
  async #touched(reply: Reply, { found, text }: Value): Promise<void> {
    if (found && text.length) {
      const left = reply.liveMeta().deadline - reply.now;
      await this.core.users.refresh(textOf(text), this.#current.handle, left);
    }
  }

  /** The offer that has to be settled before the response starts. */
  get unsettled(): Offer | undefined {
    const { offer, started } = this.out;
    return offer && !offer.certain && !started ? offer : undefined;
  }

  /**
   * Finds out whether the session is still in the generation that the response offers. A login
   * since then has set the browser's cookie, which must not be overwritten.
   */
  async settle(): Promise<void> {
    const offer = this.unsettled;
    if (!offer) {
      return;
    }
    const reply = await this.core
      .apply(offer.token.handle, new Batch([b.getIdentity()]), b.held(offer.token))
      .catch(() => undefined);
    this.out.settle(offer, reply?.meta?.generation === offer.token.generation);
  }
}

/** A token of a session that nobody has made yet. */
const nobodys = (): Token => ({ handle: newHandle(), generation: 0, secret: Buffer.alloc(16) });

const sameToken = (a: Token, other: Token): boolean =>
  a.generation === other.generation && a.handle.equals(other.handle);

function expectsSession({ kind, operand }: b.Part): boolean {
  const anew = Buffer.isBuffer(operand) && operand.equals(Buffer.alloc(6));
  return kind === b.If.fieldIs || (kind === b.If.revisionIs && !anew);
}

/** Returns a reply whose status is ok; turns any other into an error. */
export function checked(batch: Batch, reply: Reply, { limits }: Settings): Reply {
  if (reply.status === Status.ok) {
    return reply;
  }
  const name = JSON.stringify(batch.ops[reply.at]?.name ?? "");
  switch (reply.status) {
    case Status.conflict:
      throw new ConflictError("the session is not what was read");
    case Status.notInteger:
      throw new NotIntegerError(`the field ${name} is not an integer`);
    case Status.outOfRange:
      throw new OutOfRangeError(`the field ${name} would pass ±(2^53−1)`);
    case Status.notList:
      throw new NotListError(`the field ${name} is not a list`);
    case Status.tooLarge:
      throw new TooLargeError(
        `the field ${name} does not fit in the session, whose limits are ${limits.fields} fields, ` +
          `${limits.size} bytes in all and ${limits.value} bytes each`,
      );
    default:
      throw new StoreError(`unexpected answer of the store: status ${reply.status}`);
  }
}
