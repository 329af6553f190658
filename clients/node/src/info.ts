/** What there is to know about a session beside its fields. */

import { encode } from "./values";
import type { Reply } from "./wire";

/** What an app may record of the browser that a session belongs to. */
export interface Device {
  readonly ip?: string;
  readonly userAgent?: string;
}

/** A session as lists show it. Times are by the store's clock. */
export interface Info {
  /** The session's public name: 32 hexadecimal digits. */
  readonly handle: string;
  /** Who is logged in; "" if nobody is. */
  readonly user: string;
  /** When the user logged in, if one has. */
  readonly authTime: Date | undefined;
  readonly created: Date;
  /** The last recorded activity. */
  readonly touched: Date;
  /** The timeout without activity, in seconds. */
  readonly idle: number;
  /** The absolute end. */
  readonly deadline: Date;
  readonly generation: number;
  /** Rises with every change; 0 if it is not known. */
  readonly revision: number;
  readonly device: Device;
}

/** Returns what a reply to get identity tells. */
export function infoOf(handle: Buffer, reply: Reply): Info {
  const meta = reply.liveMeta();
  return {
    handle: handle.toString("hex"),
    user: reply.user,
    authTime: reply.user ? new Date(reply.authenticated) : undefined,
    created: new Date(meta.created),
    touched: new Date(meta.touched),
    idle: meta.idle / 1000,
    deadline: new Date(meta.deadline),
    generation: meta.generation,
    revision: reply.revision,
    device: deviceOf(reply.device),
  };
}

/** Returns the JSON of a device that every language reads. */
export const deviceText = ({ ip, userAgent }: Device): string =>
  encode("device", { ip: ip || undefined, user_agent: userAgent || undefined });

function deviceOf(text: string): Device {
  try {
    const { ip, user_agent: userAgent } = JSON.parse(text || "{}") as Record<string, unknown>;
    return {
      ...(typeof ip === "string" ? { ip } : {}),
      ...(typeof userAgent === "string" ? { userAgent } : {}),
    };
  } catch {
    return {}; // another app may have written something else
  }
}
