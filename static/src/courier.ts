// Brings questions to the server that no open turn of this page brings: those of another conversation, of a page that was
// reloaded or closed, and those that could not be sent. It asks until there is an answer. No DOM; clock, dice and HTTP are
// passed in.

import { HttpError, type Conversation } from "./api.ts";
import { Unauthorized } from "./client.ts";
import { isLocal, keyOf, type Outbox, type Question } from "./outbox.ts";
import type { WireError } from "./wire.ts";

export interface Post {
  models(): Promise<string[]>;
  /** Repeated with the same key and title it is the same conversation. */
  start(title: string, key: string): Promise<Conversation>;
  /** Repeated with the same question it is the same turn. */
  deliver(conversation: string, model: string, text: string, key: string): Promise<unknown>;
}

export interface Clock {
  delay(milliseconds: number, then: () => void): () => void;
  now(): number;
  random(): number;
  /** A key that nobody used. */
  unique(): string;
}

export interface Recipient {
  /** This tab, for as long as it lives. */
  readonly tab: string;
  /** The question that the open turn brings. */
  busyWith(): string | null;
  created(place: string, conversation: Conversation): void;
  delivered(question: Question): void;
  /** The server wants a key. */
  locked(): void;
  /** The server cannot be reached. */
  lost(): void;
  changed(): void;
}

const SHORTEST = 500;
const LONGEST = 20_000;
/** How long a question is left to another tab that tries to send it. */
const GRACE = 30_000;
/** The answer that is written in the conversation may take its time. */
const BEHIND = 3_000;
const AGAIN = new Set([408, 425, 429]);

export class Courier {
  /** When it tries again, in milliseconds of `now()`; null while it tries, or has nothing to bring. */
  until: number | null = null;
  /** Why the last try failed. */
  why: WireError | null = null;
  readonly #outbox: Outbox;
  readonly #post: Post;
  readonly #clock: Clock;
  readonly #recipient: Recipient;
  #attempt = 0;
  #working = false;
  #again = false;
  #ended = false;
  /** Nothing more is tried in this round: the server wants a key. */
  #locked = false;
  #cancelTimer: () => void = () => {};

  constructor(outbox: Outbox, post: Post, clock: Clock, recipient: Recipient) {
    this.#outbox = outbox;
    this.#post = post;
    this.#clock = clock;
    this.#recipient = recipient;
  }

  /** Now is a good moment: there is something new to bring, the server is back, or a person asks for it. */
  nudge(): void {
    this.#cancelTimer();
    this.until = null;
    if (this.#working) this.#again = true;
    else if (!this.#ended) void this.#work();
  }

  /** Another tab changed what waits. Its tries say nothing about the server, or two tabs would drive each other on. */
  notice(): void {
    if (!this.#working && this.until === null) this.nudge();
  }

  stop(): void {
    this.#ended = true;
    this.#cancelTimer();
  }

  async #work(): Promise<void> {
    this.#working = true;
    do {
      this.#again = false;
      await this.#round();
    } while (this.#again && !this.#ended);
    this.#working = false;
    this.#recipient.changed();
  }

  /** One try for the first question of every conversation: the others come after it. */
  async #round(): Promise<void> {
    this.why = null;
    this.#locked = false;
    const places = new Set<string>();
    let pause = Infinity;
    for (const question of this.#outbox.questions()) {
      if (this.#ended || question.held || places.has(question.place)) continue;
      places.add(question.place);
      if (question.key === this.#recipient.busyWith()) continue;
      const left = this.#leftToOthers(question);
      pause = Math.min(pause, left || (await this.#bring(question)));
      if (this.#locked) return;
    }
    if (pause < Infinity && !this.#ended && !this.#again) this.#wait(pause);
  }

  #leftToOthers(question: Question): number {
    if (question.owner === this.#recipient.tab) return 0;
    return Math.max(0, question.touched + GRACE - this.#clock.now());
  }

  /** Milliseconds until the next try; Infinity when none is needed. */
  async #bring(question: Question): Promise<number> {
    this.#outbox.change(question.key, { touched: this.#clock.now(), owner: this.#recipient.tab });
    try {
      const model = question.model ?? (await this.#post.models())[0] ?? "";
      const conversation = await this.#conversation(question);
      if (!this.#outbox.change(question.key, { model })) return Infinity;
      await this.#post.deliver(conversation, model, question.text, question.key);
      return this.#arrived(question);
    } catch (error) {
      return this.#failed(question, error);
    }
  }

  async #conversation(question: Question): Promise<string> {
    if (!isLocal(question.place)) return question.place;
    const conversation = await this.#post.start(question.title, keyOf(question.place));
    this.#outbox.move(question.place, conversation.id);
    this.#recipient.created(question.place, conversation);
    return conversation.id;
  }

  #arrived(question: Question): number {
    const current = this.#outbox.find(question.key) ?? question;
    this.#attempt = 0;
    this.why = null;
    this.#outbox.remove(question.key);
    this.#recipient.delivered(current);
    const rest = this.#outbox.at(current.place).some((other) => !other.held);
    return rest ? BEHIND : Infinity;
  }

  #failed(question: Question, error: unknown): number {
    if (error instanceof Unauthorized) {
      this.why = { code: "invalid_api_key", message: "" };
      this.#locked = true;
      this.#recipient.locked();
      return Infinity;
    }
    if (!(error instanceof HttpError)) return this.#later({ code: "unreachable", message: "" });
    const why: WireError = { code: error.code, message: error.message };
    if (error.code === "conversation_locked") return this.#later(why, BEHIND);
    if (error.status >= 500 || AGAIN.has(error.status)) return this.#later(why, error.retryAfter);
    return this.#refused(question.key, error.status, why);
  }

  /** It will not do it, whoever asks. Where it answers that it did it already, nothing is left to bring. */
  #refused(key: string, status: number, error: WireError): number {
    const question = this.#outbox.find(key);
    if (!question) return Infinity;
    // Of a conversation that is still to be made, the code says that its key made another one: nothing has arrived.
    const unmade = isLocal(question.place);
    const reused = error.code === "idempotency_key_reused";
    if (!unmade && (reused || error.code === "stream_position_lost")) return this.#arrived(question);
    if (unmade ? reused : status === 404 && error.code === "not_found") this.#outbox.rehouse(question, this.#clock.unique(), error);
    else this.#outbox.change(key, { held: true, error });
    this.#recipient.changed();
    return Infinity;
  }

  #later(why: WireError, after = 0): number {
    this.why = why;
    if (why.code === "unreachable") this.#recipient.lost();
    this.#attempt += 1;
    const ceiling = Math.min(LONGEST, SHORTEST * 2 ** (this.#attempt + 1));
    return Math.max(after, SHORTEST + this.#clock.random() * (ceiling - SHORTEST));
  }

  #wait(milliseconds: number): void {
    this.until = this.#clock.now() + milliseconds;
    this.#cancelTimer = this.#clock.delay(milliseconds, () => this.nudge());
  }
}
