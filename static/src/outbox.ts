// What a person wrote and the server does not have: drafts, and questions on their way. It outlives a reload and a crash.
// Each entry has a key of its own, so that tabs which write at the same time take nothing from each other.

import type { WireError } from "./wire.ts";

/** Where texts are kept. `put` is false where the place is full or refuses. */
export interface Shelf {
  names(): string[];
  get(name: string): string | null;
  put(name: string, value: string): boolean;
  drop(name: string): void;
}

export interface Question {
  /** The idempotency key: however often and by whichever tab it is sent, it is one turn. */
  readonly key: string;
  /** The id of its conversation; for one that the server does not have yet, `new:` and the key that will make it. */
  readonly place: string;
  /** Of the conversation that it begins. A repeated call must be the same call. */
  readonly title: string;
  readonly text: string;
  /** What it was sent with first: a repeated call must be the same call. */
  readonly model: string | null;
  /** When it was asked, in milliseconds since 1970. */
  readonly at: number;
  /** When somebody last tried to send it; whoever else is there leaves it to them for a while. */
  readonly touched: number;
  /** The tab that sends it. */
  readonly owner: string;
  /** It waits for the person, not for the server: it was stopped, or refused. */
  readonly held: boolean;
  readonly error: WireError | null;
}

const LOCAL = "new:";
const QUESTION = "question:";
const DRAFT = "draft:";
/** Where one writes before there is a conversation. */
const NOWHERE = "new";
export const MOST_DRAFTS = 50;
/** A longer draft stays in memory: writing it at every pause would hold up the typing. */
export const LONGEST_DRAFT = 200_000;
const DRAFT_LIFE = 30 * 24 * 3_600_000;

/** Whether a conversation is only here so far. */
export function isLocal(place: string | null): place is string {
  return place !== null && place.startsWith(LOCAL);
}

export function localPlace(key: string): string {
  return LOCAL + key;
}

/** The idempotency key that makes the conversation of a local place. */
export function keyOf(place: string): string {
  return place.slice(LOCAL.length);
}

interface Draft {
  text: string;
  at: number;
}

export class Outbox {
  /** Counts changes, for whoever draws. */
  version = 0;
  readonly #shelf: Shelf;
  readonly #now: () => number;
  /** What the shelf refused. It lasts as long as the page. */
  readonly #loose = new Map<string, string>();
  /** What was read last, for whoever draws often. */
  #read: { version: number; questions: readonly Question[] } | null = null;

  constructor(shelf: Shelf, now: () => number) {
    this.#shelf = shelf;
    this.#now = now;
  }

  /** All questions, the oldest first. */
  questions(): readonly Question[] {
    if (this.#read?.version !== this.version) this.#read = { version: this.version, questions: this.#readAll() };
    return this.#read.questions;
  }

  #readAll(): Question[] {
    return this.#names(QUESTION).flatMap((name) => parsed<Question>(this.#get(name)) ?? [])
      .filter((question) => typeof question.key === "string" && typeof question.text === "string" && typeof question.place === "string")
      .sort((one, other) => one.at - other.at || (one.key < other.key ? -1 : 1));
  }

  at(place: string | null): Question[] {
    return place === null ? [] : this.questions().filter((question) => question.place === place);
  }

  find(key: string): Question | null {
    return parsed<Question>(this.#get(QUESTION + key));
  }

  /** False for a question that ends with the page. */
  isKept(key: string): boolean {
    return !this.#loose.has(QUESTION + key);
  }

  put(question: Question): void {
    this.#put(QUESTION + question.key, JSON.stringify(question));
    this.changed();
  }

  /** Changes a question that is still there: another tab may have sent or discarded it. */
  change(key: string, changes: Partial<Question>): Question | null {
    const question = this.find(key);
    if (!question) return null;
    const changed = { ...question, ...changes };
    this.put(changed);
    return changed;
  }

  remove(key: string): void {
    this.#drop(QUESTION + key);
    this.changed();
  }

  /** Its conversation was deleted elsewhere: what was written stays, at the head of a new one, until a person says more. */
  rehouse(question: Question, key: string, error: WireError | null): Question {
    const moved = { ...question, key, place: localPlace(key), held: true, error };
    this.put(moved);
    this.remove(question.key);
    return moved;
  }

  /** A conversation has an id now. */
  move(from: string, to: string): void {
    for (const question of this.at(from)) this.put({ ...question, place: to });
    const draft = this.draft(from);
    if (draft && !this.draft(to)) this.write(to, draft);
    this.write(from, "");
  }

  /** A conversation was deleted: what was written for it goes with it. */
  clear(place: string): void {
    for (const question of this.at(place)) this.remove(question.key);
    this.write(place, "");
  }

  draft(place: string | null): string {
    return parsed<Draft>(this.#get(draftName(place)))?.text ?? "";
  }

  write(place: string | null, text: string): void {
    const name = draftName(place);
    if (!text) return this.#drop(name);
    if (text === this.draft(place)) return;
    const value = JSON.stringify({ text, at: this.#now() } satisfies Draft);
    if (text.length > LONGEST_DRAFT) {
      this.#shelf.drop(name);
      this.#loose.set(name, value);
      return;
    }
    this.#put(name, value);
    this.#forget(MOST_DRAFTS);
  }

  changed(): void {
    this.version += 1;
  }

  /** Drafts give way to questions, the oldest first; questions give way to nothing. */
  #put(name: string, value: string): void {
    this.#loose.delete(name);
    if (this.#shelf.put(name, value)) return;
    if (name.startsWith(QUESTION)) this.#forget(0);
    if (name.startsWith(QUESTION) && this.#shelf.put(name, value)) return;
    this.#shelf.drop(name);
    this.#loose.set(name, value);
  }

  #forget(most: number): void {
    const drafts = this.#shelf.names().filter((name) => name.startsWith(DRAFT))
      .map((name) => ({ name, at: parsed<Draft>(this.#shelf.get(name))?.at ?? 0 })).sort((one, other) => other.at - one.at);
    const oldest = this.#now() - DRAFT_LIFE;
    for (const [index, { name, at }] of drafts.entries()) if (index >= most || at < oldest) this.#shelf.drop(name);
  }

  #names(kind: string): string[] {
    return [...new Set([...this.#shelf.names(), ...this.#loose.keys()])].filter((name) => name.startsWith(kind));
  }

  #get(name: string): string | null {
    return this.#loose.get(name) ?? this.#shelf.get(name);
  }

  #drop(name: string): void {
    this.#loose.delete(name);
    this.#shelf.drop(name);
  }
}

function draftName(place: string | null): string {
  return DRAFT + (place ?? NOWHERE);
}

function parsed<T>(text: string | null): T | null {
  try {
    const value: unknown = text === null ? null : JSON.parse(text);
    return typeof value === "object" ? (value as T) : null;
  } catch {
    return null;
  }
}
