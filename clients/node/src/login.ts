/** Logging in: the steps on the user's index and on the record, in the protocol's order. */

import * as b from "./batch";
import { Batch, MAX_SESSIONS, Reason } from "./batch";
import {
  BlockedError,
  ConflictError,
  GoneError,
  OutcomeUnknownError,
  StoreError,
  SupersededError,
  TooManySessionsError,
} from "./errors";
import { happened, trouble } from "./log";
import type { Core } from "./manager";
import type { RequestState } from "./state";
import { type IndexReply, StepKind, StepStatus } from "./steps";
import { newHandle, newSecret } from "./token";
import { entryLife, MAX_REMAINS, newlyDoomed, type Users } from "./users";
import { type Reply, Status } from "./wire";

/** How often a login starts over when the session changes hands under it. */
const MAX_LOGINS = 8;

/** The session that the user is to be logged in to. */
interface Plan {
  readonly handle: Buffer;
  /** To be made. */
  readonly fresh: boolean;
  /** Another user's is destroyed. */
  readonly replaces: boolean;
}

/** Logs a user in to a request's session. */
export function login(state: RequestState, user: string): Promise<void> {
  b.packUser(user);
  return state.opening.run(async () => {
    for (let i = 0; i < MAX_LOGINS; i++) {
      if (await new Login(state, user).attempt()) {
        return;
      }
    }
    throw new ConflictError("the session keeps changing hands");
  });
}

/** One attempt to log a user in. */
class Login {
  readonly #state: RequestState;
  readonly #user: string;
  readonly #core: Core;
  readonly #users: Users;

  constructor(state: RequestState, user: string) {
    this.#state = state;
    this.#user = user;
    this.#core = state.core;
    this.#users = state.core.users;
  }

  /** Tries it. False is returned when another request has come in between. */
  async attempt(): Promise<boolean> {
    const plan = await this.#plan();
    const listed = await this.#enlist(plan.handle);
    if (!listed) {
      return false;
    }
    if (plan.replaces) {
      await this.#replace(plan.handle);
    }
    const reply = await this.#authenticate(plan);
    if (reply.status !== Status.ok) {
      await this.#lost(plan, reply);
      return false;
    }
    await this.#confirm(plan.handle, reply);
    if (plan.fresh) {
      this.#state.begin(plan.handle, reply);
    } else {
      this.#state.renewed(reply);
    }
    happened("authenticated", plan.handle);
    await this.#users.finish(this.#user, listed);
    return true;
  }

  async #plan(): Promise<Plan> {
    const state = this.#state;
    const reply = await state.doAlone(new Batch([b.getIdentity()]));
    const replaces = state.live && reply.user !== "" && reply.user !== this.#user;
    return state.live && !replaces
      ? { handle: state.current.handle, fresh: false, replaces }
      : { handle: newHandle(), fresh: true, replaces };
  }

  /** Lists the session within the cap; undefined if it was over the cap already. */
  async #enlist(handle: Buffer): Promise<IndexReply | undefined> {
    const { maxPerUser, whenFull } = this.#core.settings;
    if (maxPerUser < MAX_SESSIONS) {
      await this.#users.mustList();
    }
    const step = {
      kind: StepKind.enlist,
      handle,
      most: maxPerUser,
      evict: whenFull === "evict",
      lifetime: entryLife(this.#core.absolute),
    };
    let reply = await this.#users.step(this.#user, step);
    if (reply.status === StepStatus.unverified) {
      // Drop dead entries first. A session that this version cannot read counts as live.
      await this.#users.survey(this.#user, reply, MAX_REMAINS);
      const verified = await this.#users.step(this.#user, { ...step, verified: true });
      reply = { ...verified, entries: newlyDoomed(reply, verified) };
    } else if (reply.status === StepStatus.ok) {
      reply = { ...reply, entries: reply.entries.slice(0, MAX_REMAINS) };
    }
    return this.#admitted(handle, reply);
  }

  async #admitted(handle: Buffer, reply: IndexReply): Promise<IndexReply | undefined> {
    switch (reply.status) {
      case StepStatus.blocked:
        await this.#users.finish(this.#user, reply);
        throw new BlockedError("the user is blocked");
      case StepStatus.full:
        throw new TooManySessionsError(`the user has ${this.#core.settings.maxPerUser} sessions`);
      case StepStatus.doomed:
        await this.#users.finishDoomed(this.#user, handle, reply);
        return undefined;
      default:
        return reply;
    }
  }

  /** Destroys the session of another user. */
  async #replace(handle: Buffer): Promise<void> {
    try {
      await this.#state.destroy(Reason.replaced);
    } catch (error) {
      if (error instanceof GoneError || error instanceof SupersededError) {
        return; // it is no longer the request's
      }
      await this.#users.unlist(this.#user, [handle]);
      throw error;
    }
  }

  async #authenticate({ handle, fresh }: Plan): Promise<Reply> {
    const step = b.authenticate(this.#user, newSecret(), this.#core.absolute);
    const batch = new Batch(fresh ? [this.#core.creation(), step] : [step]);
    const access = fresh ? b.AS_ADMIN : b.held(this.#state.current);
    try {
      return await this.#core.apply(handle, batch, access);
    } catch (error) {
      // After an unknown outcome the session may be the user's now, and one that was there before
      // may be by another request's login: then it stays listed.
      if (fresh && !(error instanceof OutcomeUnknownError)) {
        await this.#users.unlist(this.#user, [handle]);
      }
      throw error;
    }
  }

  /**
   * Takes in that the record did not take the login. Its entry goes only if the record can never
   * become the user's: a token that was superseded may have been so by the same user's login.
   */
  async #lost({ handle, fresh }: Plan, reply: Reply): Promise<void> {
    const { status, reason } = reply;
    if (fresh || status === Status.otherUser || status === Status.ended) {
      await this.#users.unlist(this.#user, [handle]);
    }
    if (fresh) {
      throw revoked(); // its pending entry was revoked
    }
    if (status === Status.otherUser) {
      return;
    }
    this.#state.refuse(handle, reply);
    if (status === Status.ended && (reason === Reason.revoked || reason === Reason.evicted)) {
      throw revoked();
    }
  }

  /** Makes the entry final. Nobody may stay logged in unlisted. */
  async #confirm(handle: Buffer, reply: Reply): Promise<void> {
    const failure = await this.#confirmed(handle, reply);
    if (!failure) {
      return;
    }
    const reason = failure instanceof BlockedError ? Reason.revoked : Reason.evicted;
    try {
      await this.#users.end(handle, reason, this.#user);
      await this.#users.unlist(this.#user, [handle]);
    } catch (error) {
      trouble("cannot end a session whose login failed", handle, error);
    }
    throw failure;
  }

  async #confirmed(handle: Buffer, reply: Reply): Promise<Error | undefined> {
    const left = reply.liveMeta().deadline - reply.now;
    try {
      let { status } = await this.#users.step(this.#user, { kind: StepKind.confirm, handle });
      if (status === StepStatus.ok && left > this.#core.absolute) {
        // The session chose a longer life than the entry has.
        const step = { kind: StepKind.refresh, handle, lifetime: entryLife(left) };
        ({ status } = await this.#users.step(this.#user, step));
      }
      if (status === StepStatus.ok) {
        return undefined;
      }
      return status === StepStatus.blocked ? new BlockedError("the user is blocked") : revoked();
    } catch (error) {
      if (error instanceof StoreError) {
        return error;
      }
      throw error;
    }
  }
}

const revoked = () => new GoneError("the login was revoked while it was under way");
