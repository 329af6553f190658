/**
 * The sessions of a user: listed, revoked, blocked.
 *
 * Record and index are in different slots, so that they are not written at once; the order of the
 * steps, which the protocol prescribes, makes that safe.
 */

import * as b from "./batch";
import { Batch, MAX_SESSIONS, MAX_TIMEOUT, Reason } from "./batch";
import { CorruptError, LayoutError, MayEvictError, StoreError } from "./errors";
import { type Info, infoOf } from "./info";
import { happened, trouble } from "./log";
import type { Core } from "./manager";
import { type Entry, EntryState, type IndexReply, type Step, StepKind, StepStatus } from "./steps";
import { Status, textOf } from "./wire";

/** How long, in ms, a listed login may take before it counts as cut short. */
const PENDING_FOR = 60_000;
/**
 * How much longer, in ms, an entry is listed than its session may live: the two are not written at
 * the same time, nor by one clock.
 */
const ENTRY_SLACK = 10 * 60_000;
/** How many sessions a login or a touch ends that somebody else should have ended. */
export const MAX_REMAINS = 8;
const ALL = MAX_SESSIONS * 2;

/** Returns how long the entry of a session is listed that has *left* ms to live. */
export const entryLife = (left: number): number => Math.min(left + ENTRY_SLACK, MAX_TIMEOUT);

/** What a manager does with whole users. */
export class Users {
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  /** Applies a step to the user's index. */
  step(user: string, step: Step): Promise<IndexReply> {
    b.packUser(user);
    return this.#core.store.applyStep(user, step);
  }

  /** Returns the live sessions of a user, the oldest login first. */
  async sessions(user: string): Promise<Info[]> {
    const reply = await this.step(user, { kind: StepKind.list });
    const { infos, unreadable } = await this.survey(user, reply, ALL);
    if (unreadable) {
      throw unreadable;
    }
    return infos;
  }

  /** Looks up the listed sessions, drops dead entries, and finishes what others left. */
  async survey(
    user: string,
    reply: IndexReply,
    most: number,
  ): Promise<{ infos: Info[]; unreadable: StoreError | undefined }> {
    const infos: Info[] = [];
    const dead: Buffer[] = [];
    let unreadable: StoreError | undefined;
    for (const entry of reply.entries.filter((e) => !isOver(reply, e))) {
      try {
        const { status, info } = await this.#lookUp(entry.handle);
        if (info?.user === user) {
          infos.push(info);
        } else if (await this.#isDead(entry, status, info, reply.now)) {
          dead.push(entry.handle);
        }
      } catch (error) {
        if (!(error instanceof LayoutError || error instanceof CorruptError)) {
          throw error;
        }
        unreadable = error;
      }
    }
    await this.unlist(user, dead);
    await this.finish(user, reply, most);
    return { infos, unreadable };
  }

  async #lookUp(handle: Buffer): Promise<{ status: number; info: Info | undefined }> {
    const reply = await this.#core.apply(handle, new Batch([b.getIdentity()]), b.AS_ADMIN);
    const { status } = reply;
    return { status, info: status === Status.ok ? infoOf(handle, reply) : undefined };
  }

  /**
   * Whether an entry's session is not the user's and never will be. A login that is pending may
   * still become one: if it has made no session for long, a tombstone keeps it from doing so; if it
   * is to change one that is there, the entry stays for as long as that session does.
   */
  async #isDead(
    entry: Entry,
    status: number,
    info: Info | undefined,
    now: number,
  ): Promise<boolean> {
    if (status === Status.ended || info?.user) {
      return true;
    }
    if (entry.state === EntryState.active) {
      return status === Status.absent;
    }
    if (status !== Status.absent || now - entry.added <= PENDING_FOR) {
      return false;
    }
    const tombstone = new Batch([b.destroy(Reason.evicted, this.#core.keep)], [b.revisionIs(0)]);
    try {
      const reply = await this.#core.apply(entry.handle, tombstone, b.AS_ADMIN);
      return reply.status !== Status.conflict;
    } catch (error) {
      tell("cannot end a login that was cut short", entry.handle, error);
      return false;
    }
  }

  /** Destroys a session by its handle; tells whether there was one. */
  async revoke(handle: Buffer): Promise<boolean> {
    const { ended, user } = await this.end(handle, Reason.revoked);
    if (user) {
      await this.unlist(user, [handle]);
    }
    return ended;
  }

  /** Destroys a session, if it is that user's or nobody's; tells whose it was. */
  async end(
    handle: Buffer,
    reason: number,
    ofUser?: string,
  ): Promise<{ ended: boolean; user: string }> {
    const conditions = ofUser === undefined ? [] : [b.userIsOrNone(ofUser)];
    const batch = new Batch([b.destroy(reason, this.#core.keep)], conditions);
    const reply = await this.#core.apply(handle, batch, b.AS_ADMIN);
    if (reply.status !== Status.ok || !reply.value().found) {
      return { ended: false, user: "" };
    }
    happened("destroyed", handle);
    return { ended: true, user: textOf(reply.value().text) };
  }

  /** Destroys all sessions of a user but those to keep, logins under way included. */
  async revokeAll(user: string, keep: readonly Buffer[]): Promise<number> {
    await this.mustList();
    return this.#revokeListed(user, await this.step(user, { kind: StepKind.list }), keep);
  }

  async #revokeListed(user: string, reply: IndexReply, keep: readonly Buffer[]): Promise<number> {
    const over: Buffer[] = [];
    let count = 0;
    let failure: unknown;
    for (const { handle } of reply.entries) {
      if (keep.some((kept) => kept.equals(handle))) {
        continue;
      }
      try {
        count += Number((await this.end(handle, Reason.revoked, user)).ended);
        over.push(handle);
      } catch (error) {
        failure = error;
      }
    }
    await this.unlist(user, over);
    if (failure) {
      throw failure;
    }
    return count;
  }

  /** Ends all sessions of a user and refuses logins for *duration* ms. */
  async block(user: string, duration: number): Promise<void> {
    await this.mustList();
    await this.#revokeListed(user, await this.step(user, { kind: StepKind.block, duration }), []);
  }

  /** Permits logins again; ends first what a block that failed has left. */
  async unblock(user: string): Promise<void> {
    await this.finish(user, await this.step(user, { kind: StepKind.list }), ALL);
    await this.step(user, { kind: StepKind.unblock });
  }

  /** Throws MayEvictError if lists may be lost and that was not accepted. */
  async mustList(): Promise<void> {
    if (!this.#core.settings.bestEffortUsers && (await this.#core.store.mayEvict())) {
      throw new MayEvictError(
        "the store may evict sessions and lists: for Redis, set maxmemory-policy noeviction, or " +
          "accept it with bestEffortUsers",
      );
    }
  }

  /**
   * Drops handles from a user's index. Trouble is told: a dead entry is dropped whenever the list
   * is next looked at.
   */
  async unlist(user: string, handles: readonly Buffer[]): Promise<void> {
    const [first] = handles;
    if (!first) {
      return;
    }
    try {
      await this.step(user, { kind: StepKind.unlist, handles });
    } catch (error) {
      tell("cannot unlist a session", first, error);
    }
  }

  /**
   * Ends the doomed of a reply, and all of a blocked user, whoever left them. Trouble is told: the
   * next look at the list tries again.
   */
  async finish(user: string, reply: IndexReply, most: number = ALL): Promise<void> {
    const reason = reply.blockedUntil ? Reason.revoked : Reason.evicted;
    const ended: Buffer[] = [];
    for (const { handle } of reply.entries.filter((e) => isOver(reply, e)).slice(0, most)) {
      try {
        await this.end(handle, reason, user);
        ended.push(handle);
      } catch (error) {
        tell("cannot end a session over the cap or of a blocked user", handle, error);
      }
    }
    await this.unlist(user, ended);
  }

  /** Ends one session that the index does not want any more. */
  finishDoomed(user: string, handle: Buffer, reply: IndexReply): Promise<void> {
    const doomed = { handle, state: EntryState.doomed, added: 0, deadline: 0 };
    return this.finish(user, { ...reply, entries: [doomed] }, 1);
  }

  /**
   * Lists a session that has *left* ms to live, and ends it if it is not to be. Trouble is told:
   * the next touch tries again.
   */
  async refresh(user: string, handle: Buffer, left: number): Promise<void> {
    const lifetime = entryLife(Math.max(this.#core.absolute, left));
    try {
      const reply = await this.step(user, { kind: StepKind.refresh, handle, lifetime });
      if (reply.status !== StepStatus.ok) {
        await this.finishDoomed(user, handle, reply); // it may not be in the reply
      }
      await this.finish(user, reply, reply.blockedUntil ? ALL : MAX_REMAINS);
    } catch (error) {
      tell("cannot list a session", handle, error);
    }
  }
}

/** Whether an entry's session is to be ended. */
const isOver = (reply: IndexReply, entry: Entry): boolean =>
  reply.blockedUntil > 0 || entry.state === EntryState.doomed;

function tell(what: string, handle: Buffer, error: unknown): void {
  if (!(error instanceof StoreError)) {
    throw error;
  }
  trouble(what, handle, error);
}

/**
 * Returns the entries that were doomed between two replies: a login's own to end. Whoever doomed
 * the others is probably at it, and many logins at once must not all end them all.
 */
export function newlyDoomed(before: IndexReply, after: IndexReply): Entry[] {
  const was = before.entries.filter((entry) => entry.state === EntryState.doomed);
  return after.entries.filter((entry) => !was.some(({ handle }) => handle.equals(entry.handle)));
}
