// What a session and the page around it say to each other.

import type { WireEvent } from "./wire.ts";

const TITLE_LENGTH = 60;

export interface Memory {
  /** The conversation that was open here before a reload. */
  recall(): string | null;
  remember(id: string | null): void;
}

/** Who shows the session. */
export interface Page {
  /** Something is different; look again. */
  changed(): void;
  /** A turn began here, of which other pages may want to know; `before`: what its conversation was called until now. */
  started(conversation: string, before?: string): void;
  /** A question could not be asked now: here it is again. False where there is no room for it. */
  returned(text: string): boolean;
  /** Another conversation is about to be shown: what is being written belongs to this one. */
  leaving(): void;
  arrived(): void;
  /** The server may be away. */
  lost(): void;
}

export type Pause =
  | { kind: "queue"; position: number; seconds: number | null }
  | { kind: "prefill" | "takeover" | "log" };

export function titleOf(text: string): string {
  const line = text.trim().replace(/\s+/g, " ");
  return line.length > TITLE_LENGTH ? `${line.slice(0, TITLE_LENGTH - 1).trimEnd()}…` : line;
}

export function pauseOf(event: WireEvent): Pause | null {
  if (event.type === "throughline:queue") {
    return { kind: "queue", position: event.position ?? 0, seconds: event.estimated_seconds ?? null };
  }
  const kind = event.reason;
  return kind === "prefill" || kind === "takeover" || kind === "log" ? { kind } : null;
}
