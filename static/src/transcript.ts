// What a conversation looks like, as a pure function of what was fetched, asked and streamed. No DOM, no socket, no clock.

import { ENDS, numbered, type WireError, type WireEvent, type WireItem, type WirePart, type WireResponse } from "./wire.ts";

export interface Item {
  readonly id: string;
  readonly type: string;
  readonly role: string;
  /** The answer ended before it was complete. */
  readonly cut: boolean;
  readonly parts: readonly string[];
  /** Of a function call; empty otherwise. */
  readonly name: string;
}

export type Status = "sent" | "queued" | "in_progress" | "completed" | "incomplete" | "cancelled" | "failed";

export interface Answer {
  /** Null until `response.created`. */
  readonly id: string | null;
  readonly status: Status;
  /** The sequence number that has not been seen yet. */
  readonly next: number;
  readonly items: readonly Item[];
  readonly error: WireError | null;
  /** Why an incomplete answer ended. */
  readonly reason: string | null;
  /** Output tokens, known at the end. */
  readonly tokens: number | null;
  /** Seconds since 1970 by the server's clock. */
  readonly createdAt: number | null;
}

export interface Transcript {
  readonly history: readonly Item[];
  /** The running turn, or the last one that ran here. */
  readonly answer: Answer | null;
}

export const EMPTY: Transcript = { history: [], answer: null };

const FRESH: Answer = {
  id: null, status: "sent", next: 0, items: [], error: null, reason: null, tokens: null, createdAt: null,
};

export function opened(items: readonly WireItem[]): Transcript {
  return { history: items.map((item, index) => read(item, `history-${index}`)), answer: null };
}

/** A question was sent: it shows at once, before the server has it. */
export function asked(state: Transcript, text: string, id: string): Transcript {
  const question: Item = { id, type: "message", role: "user", cut: false, parts: [text], name: "" };
  return { history: [...visible(state), question], answer: FRESH };
}

/** The question goes back to where it waits: nothing of it was accepted. */
export function unasked(state: Transcript, id: string): Transcript {
  return { history: state.history.filter((item) => item.id !== id), answer: null };
}

/** A turn that somebody else started, or that this page started before it was reloaded. */
export function following(state: Transcript, id: string): Transcript {
  return { history: visible(state), answer: { ...FRESH, id } };
}

export function refused(state: Transcript, error: WireError): Transcript {
  return { ...state, answer: { ...(state.answer ?? FRESH), status: "failed", error } };
}

/** Stopped before the server had accepted it. */
export function withdrawn(state: Transcript): Transcript {
  return { ...state, answer: { ...(state.answer ?? FRESH), status: "cancelled" } };
}

/** The law: replaying any part of a log over a state that has it changes nothing. */
export function applied(state: Transcript, event: WireEvent): Transcript {
  const number = event.sequence_number;
  const answer = state.answer;
  if (!answer || number === undefined || number < answer.next || !numbered(event)) return state;
  return { ...state, answer: { ...step(answer, event), next: number + 1 } };
}

/** Everything to show, in order. An item that is both stored and streamed shows once. */
export function visible(state: Transcript): readonly Item[] {
  if (!state.answer?.items.length) return state.history;
  const streamed = present(state.answer.items);
  const ids = new Set(streamed.map((item) => item.id));
  return [...state.history.filter((item) => !ids.has(item.id)), ...streamed];
}

export function running(state: Transcript): boolean {
  const status = state.answer?.status;
  return status === "sent" || status === "queued" || status === "in_progress";
}

export function textOf(item: Item): string {
  return item.parts.join("\n\n");
}

export function lastQuestion(state: Transcript): string {
  const question = visible(state).findLast((item) => item.role === "user");
  return question ? textOf(question) : "";
}

/** Where entries of the log were lost, an item may be missing before one that is there. */
export function present(items: readonly Item[]): readonly Item[] {
  return items.filter((item) => item !== undefined);
}

function step(answer: Answer, event: WireEvent): Answer {
  if (event.response) return progressed(answer, event.type, event.response);
  const index = event.output_index;
  if (index === undefined) return answer;
  if (event.item) return { ...answer, items: placed(answer.items, index, read(event.item, `${answer.id}-${index}`)) };
  const item = answer.items[index];
  return item ? { ...answer, items: placed(answer.items, index, written(item, event)) } : answer;
}

function progressed(answer: Answer, type: string, response: WireResponse): Answer {
  const output = ENDS.has(type) && response.output?.length
    ? response.output.map((item, index) => read(item, `${response.id}-${index}`))
    : answer.items;
  return {
    ...answer,
    id: response.id,
    status: statusOf(type, response),
    items: kept(answer.items, output),
    error: response.error ?? null,
    reason: response.incomplete_details?.reason ?? null,
    tokens: response.usage?.output_tokens ?? answer.tokens,
    createdAt: response.created_at ?? answer.createdAt,
  };
}

function statusOf(type: string, response: WireResponse): Status {
  if (response.status === "cancelled") return "cancelled";
  const word = type.slice("response.".length);
  return word === "created" ? "queued" : (word as Status);
}

/** An item that did not change stays the same object, so that nothing is drawn again for it. */
function kept(old: readonly Item[], fresh: readonly Item[]): readonly Item[] {
  return fresh.map((item, index) => (JSON.stringify(item) === JSON.stringify(old[index]) ? old[index]! : item));
}

function placed(items: readonly Item[], index: number, item: Item): readonly Item[] {
  const copy = items.slice();
  copy[index] = item;
  return copy;
}

const TEXT_DELTAS = new Set([
  "response.output_text.delta", "response.reasoning_text.delta", "response.reasoning_summary_text.delta",
  "response.refusal.delta", "response.function_call_arguments.delta",
]);

function written(item: Item, event: WireEvent): Item {
  const index = event.content_index ?? 0;
  if (TEXT_DELTAS.has(event.type)) return withPart(item, index, (item.parts[index] ?? "") + (event.delta ?? ""));
  const whole = event.text ?? event.refusal ?? event.arguments ?? (event.part ? partText(event.part) : undefined);
  return whole === undefined ? item : withPart(item, index, whole);
}

function withPart(item: Item, index: number, text: string): Item {
  const parts = item.parts.slice();
  while (parts.length < index) parts.push("");
  parts[index] = text;
  return { ...item, parts };
}

function read(item: WireItem, fallback: string): Item {
  return {
    id: item.id ?? fallback,
    type: item.type,
    role: item.role ?? "",
    cut: item.status === "incomplete",
    parts: partsOf(item),
    name: item.name ?? "",
  };
}

function partsOf(item: WireItem): readonly string[] {
  if (item.arguments !== undefined) return [item.arguments];
  if (typeof item.content === "string") return [item.content];
  const parts = item.content?.length ? item.content : (item.summary ?? []);
  return parts.map(partText);
}

function partText(part: WirePart): string {
  return part.text ?? part.refusal ?? "";
}
