/**
 * What is told beside the answers of calls, by handle only: the life cycle with NODE_DEBUG=pazzo,
 * trouble as process warnings of the type `PazzoWarning`.
 */

import { debuglog } from "node:util";

const debug = debuglog("pazzo");

/** Tells of an event in the life of a session. */
export function happened(event: string, handle: Buffer): void {
  if (debug.enabled) {
    debug("%s: session %s", event, handle.toString("hex"));
  }
}

/** Tells what went wrong beside a call that has succeeded. */
export function trouble(what: string, handle: Buffer, error: unknown): void {
  warn(`${what}: session ${handle.toString("hex")}: ${error}`);
}

/** Warns of danger or trouble. */
export function warn(text: string): void {
  process.emitWarning(text, "PazzoWarning");
}
