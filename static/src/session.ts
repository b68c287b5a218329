// What the page knows: the list of conversations, the open one, its running turn. Ties HTTP, socket and transcript
// together; the views read its fields and are told when to look again.

import { HttpError, type Api, type Conversation, type Readiness } from "./api.ts";
import { Client, Unauthorized, type Link, type Socket, type Surroundings } from "./client.ts";
import { Meter } from "./meter.ts";
import { uuid } from "./plain.ts";
import {
  EMPTY, applied, asked, following, lastQuestion, opened, refused, running, withdrawn, type Transcript,
} from "./transcript.ts";
import type { WireError, WireEvent } from "./wire.ts";

export interface Memory {
  /** The conversation that was open here before a reload. */
  recall(): string | null;
  remember(id: string | null): void;
}

/** Who shows the session. */
export interface Page {
  /** Something is different; look again. */
  changed(): void;
  /** A turn began here, of which other pages may want to know. */
  started(conversation: string): void;
  /** A question could not be asked now: here it is again. */
  returned(text: string): void;
}

export type Pause =
  | { kind: "queue"; position: number; seconds: number | null }
  | { kind: "prefill" | "takeover" | "log" };

const TITLE_LENGTH = 60;
/** A turn that was only admitted waits on. */
const ADMISSION = new Set(["response.created", "response.queued"]);
/** Until the first answer of `/readyz`. */
const UNKNOWN: Readiness = { status: "unknown" };
const UNREACHABLE: Readiness = { status: "unreachable" };

export class Session {
  conversations: Conversation[] = [];
  /** Where the next page of the list starts; null when there is none. */
  more: string | null = null;
  /** The open conversation; null in a new one that nothing was said in. */
  current: string | null = null;
  transcript: Transcript = EMPTY;
  /** True while a stored conversation is being fetched. */
  opening = false;
  /** Why the last fetch failed. */
  trouble: WireError | null = null;
  /** True when the server wants a key. */
  locked = false;
  readiness: Readiness = UNKNOWN;
  models: string[] = [];
  model: string | null = null;
  /** What the server last said about why nothing is being written. */
  pause: Pause | null = null;
  /** True for a turn that this page found running. */
  followed = false;
  /** True from Stop until the turn has ended. */
  stopping = false;
  readonly meter = new Meter();
  readonly client: Client;

  /** Events before this number were written before this page looked; null until the server has said so. */
  #live: number | null = null;
  /** While the page begins. */
  #starting: Promise<void> | null = null;
  /** Settles when the open conversation is there: what is sent before waits for it. */
  #opened: Promise<void> | null = null;

  readonly #api: Api;
  readonly #memory: Memory;
  readonly #page: Page;

  constructor(api: Api, memory: Memory, page: Page) {
    this.#api = api;
    this.#memory = memory;
    this.#page = page;
    this.client = new Client(surroundings(api), {
      linked: (link) => this.#linked(link),
      event: (event) => this.#event(event),
      refused: (error) => void this.#refused(error),
      withdrawn: () => this.#show(withdrawn(this.transcript)),
    });
  }

  get running(): boolean {
    return running(this.transcript);
  }

  /** False while the page reads what was written before it looked: that says nothing about the speed of the model. */
  get caughtUp(): boolean {
    return this.#live !== null && (this.transcript.answer?.next ?? 0) >= this.#live;
  }

  /** Fetches what the page begins with. Harmless when it is asked for again. */
  start(): Promise<void> {
    this.#starting ??= this.#begin().finally(() => { this.#starting = null; });
    return this.#starting;
  }

  get begun(): boolean {
    return this.models.length > 0;
  }

  /** One look at the node; the page looks again while it is not ready. */
  async look(): Promise<boolean> {
    this.readiness = await this.#api.ready().catch(() => UNREACHABLE);
    this.#page.changed();
    return this.readiness.status === "ready";
  }

  async refreshList(): Promise<void> {
    const page = await this.#api.conversations(null);
    this.conversations = page.data;
    this.more = page.has_more ? page.last_id : null;
    this.#page.changed();
  }

  async showMore(): Promise<void> {
    await this.#attempt(async () => {
      const page = await this.#api.conversations(this.more);
      this.conversations = [...this.conversations, ...page.data];
      this.more = page.has_more ? page.last_id : null;
    });
  }

  fresh(): void {
    this.#leave(null);
    this.#page.changed();
  }

  open(id: string): Promise<void> {
    this.#leave(id);
    this.opening = true;
    this.#page.changed();
    return this.reload();
  }

  /** Fetches the open conversation again, and follows the turn that runs in it. */
  reload(): Promise<void> {
    this.#opened = this.#fetch();
    return this.#opened;
  }

  async #fetch(): Promise<void> {
    const id = this.current;
    if (!id) return;
    await this.#attempt(async () => {
      // In this order, an answer that ends in between is in both, and shows once; in the other it could be in neither.
      const conversation = await this.#api.conversation(id);
      const items = await this.#api.items(id);
      if (this.current !== id) return;
      this.transcript = opened(items);
      if (conversation.active_response_id) this.#follow(conversation.active_response_id);
    }, (error) => this.#gone(error));
    if (this.current === id) this.opening = false;
    this.#page.changed();
  }

  /** A turn may have been started elsewhere while nobody looked here. */
  async glance(): Promise<void> {
    if (!this.current || this.running || this.opening) return;
    const conversation = await this.#api.conversation(this.current).catch(() => null);
    if (conversation?.active_response_id && conversation.id === this.current && !this.running) await this.reload();
  }

  async send(text: string): Promise<void> {
    await this.#opened;
    if (this.running) return this.#page.returned(text);
    this.transcript = asked(this.transcript, text, `asked-${uuid()}`);
    this.#beginTurn();
    this.#page.changed();
    try {
      const conversation = this.current ?? (await this.#create(text));
      this.model ??= (await this.#api.models())[0] ?? "";
      if (!this.running) return;
      this.client.ask({
        type: "response.create", model: this.model, conversation, input: text, idempotency_key: uuid(),
      });
    } catch (error) {
      this.#show(refused(this.transcript, this.#read(error)));
    }
  }

  stop(): void {
    if (!this.running) return;
    this.stopping = true;
    if (this.client.link.state === "idle") this.#show(withdrawn(this.transcript));
    else this.client.stop();
    this.#page.changed();
  }

  /** Asks the last question again, in place of the turn that failed. */
  async again(): Promise<void> {
    const text = lastQuestion(this.transcript);
    const { answer, history } = this.transcript;
    if ((!answer || answer.id) && this.current) await this.#api.rewind(this.current).catch(() => {});
    const question = history.findLastIndex((item) => item.role === "user");
    this.transcript = { history: history.slice(0, Math.max(question, 0)), answer: null };
    await this.send(text);
  }

  async rename(id: string, title: string): Promise<void> {
    await this.#attempt(async () => {
      await this.#api.rename(id, title);
      await this.refreshList();
    });
  }

  async remove(id: string): Promise<void> {
    await this.#attempt(async () => {
      await this.#api.remove(id);
      if (this.current === id) this.#leave(null);
      await this.refreshList();
    });
  }

  async unlocked(): Promise<void> {
    this.locked = false;
    if (this.client.link.state === "unauthorized") this.client.nudge();
    if (!this.running) await this.start();
  }

  async #begin(): Promise<void> {
    const id = this.current ?? this.#memory.recall();
    const opened = id && !this.running ? this.open(id) : null;
    await this.#attempt(async () => {
      this.models = await this.#api.models();
      this.model ??= this.models[0] ?? null;
      await this.refreshList();
    });
    await opened;
  }

  async #create(text: string): Promise<string> {
    const conversation = await this.#api.start(titleOf(text));
    this.current = conversation.id;
    this.#memory.remember(conversation.id);
    this.conversations = [conversation, ...this.conversations];
    this.#page.changed();
    return conversation.id;
  }

  #leave(next: string | null): void {
    this.client.release();
    this.current = next;
    this.#memory.remember(next);
    this.transcript = EMPTY;
    this.trouble = null;
    this.opening = false;
    this.stopping = false;
  }

  #follow(id: string): void {
    this.transcript = following(this.transcript, id);
    this.#beginTurn();
    this.followed = true;
    this.#live = null;
    this.client.follow(id);
  }

  #beginTurn(): void {
    this.meter.start();
    this.pause = null;
    this.stopping = false;
    this.followed = false;
    this.#live = 0;
    this.trouble = null;
  }

  #event(event: WireEvent): void {
    if (event.type === "throughline:resumed") this.#resumed(event.last_sequence_number);
    if (event.type === "response.created") this.#created(event);
    if (!ADMISSION.has(event.type)) this.pause = event.type.startsWith("throughline:") ? pauseOf(event) ?? this.pause : null;
    if (event.delta && this.caughtUp) this.meter.wrote(event.delta.length);
    this.#show(applied(this.transcript, event));
  }

  #resumed(last: number | undefined): void {
    this.#live = last === undefined ? 0 : last + 1;
    this.meter.pause();
  }

  #created(event: WireEvent): void {
    const createdAt = event.response?.created_at;
    if (this.followed && createdAt) this.meter.backdate(Date.now() / 1000 - createdAt);
    else if (this.current) this.#page.started(this.current);
  }

  async #refused(error: WireError): Promise<void> {
    if (error.code === "stream_position_lost" || error.code === "not_found" && this.transcript.answer?.id) {
      return this.reload();
    }
    if (error.code === "conversation_locked") return this.#giveBack();
    this.#show(refused(this.transcript, error));
  }

  /** Somebody else was faster. Their answer is shown, and the question goes back to where it was written. */
  #giveBack(): Promise<void> {
    this.#page.returned(lastQuestion(this.transcript));
    return this.reload();
  }

  #linked(link: Link): void {
    if (link.state === "unauthorized") this.locked = true;
    this.#page.changed();
  }

  #show(transcript: Transcript): void {
    this.transcript = transcript;
    if (!this.running) this.stopping = false;
    this.#page.changed();
  }

  /** The remembered conversation may have been deleted elsewhere. */
  #gone(error: unknown): boolean {
    if (!(error instanceof HttpError) || error.status !== 404) return false;
    this.#leave(null);
    return true;
  }

  async #attempt(act: () => Promise<void>, handled: (error: unknown) => boolean = () => false): Promise<void> {
    this.trouble = null;
    try {
      await act();
    } catch (error) {
      if (!handled(error)) this.trouble = this.#read(error);
    }
    this.#page.changed();
  }

  #read(error: unknown): WireError {
    if (error instanceof Unauthorized) this.locked = true;
    if (error instanceof Unauthorized) return { code: "invalid_api_key", message: "" };
    if (error instanceof HttpError) return { code: error.code, message: error.message };
    return { code: "unreachable", message: "" };
  }
}

function titleOf(text: string): string {
  const line = text.trim().replace(/\s+/g, " ");
  return line.length > TITLE_LENGTH ? `${line.slice(0, TITLE_LENGTH - 1).trimEnd()}…` : line;
}

function pauseOf(event: WireEvent): Pause | null {
  if (event.type === "throughline:queue") {
    return { kind: "queue", position: event.position ?? 0, seconds: event.estimated_seconds ?? null };
  }
  const kind = event.reason;
  return kind === "prefill" || kind === "takeover" || kind === "log" ? { kind } : null;
}

function surroundings(api: Api): Surroundings {
  return {
    address: () => api.socketAddress(),
    socket: (url: string) => new WebSocket(url) as Socket,
    delay: (milliseconds: number, then: () => void) => {
      const timer = setTimeout(then, milliseconds);
      return () => clearTimeout(timer);
    },
    now: () => Date.now(),
    random: () => Math.random(),
  };
}
