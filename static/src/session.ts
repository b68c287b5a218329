// What the page knows: the list of conversations, the open one, its running turn. Ties HTTP, socket and transcript
// together; the views read its fields and are told when to look again.

import { HttpError, type Api, type Conversation, type Readiness } from "./api.ts";
import { Client, Unauthorized, type Link } from "./client.ts";
import { Courier } from "./courier.ts";
import { Meter } from "./meter.ts";
import { isLocal, keyOf, localPlace, type Outbox, type Question } from "./outbox.ts";
import { uuid } from "./plain.ts";
import { pauseOf, titleOf, type Memory, type Page, type Pause } from "./page.ts";
import { CLOCK, surroundings } from "./surroundings.ts";
import {
  EMPTY, applied, asked, following, lastQuestion, opened, refused, running, unasked, withdrawn, type Transcript,
} from "./transcript.ts";
import type { WireError, WireEvent } from "./wire.ts";

/** A turn that was only admitted waits on. */
const ADMISSION = new Set(["response.created", "response.queued"]);
/** The question was accepted before, and its answer is in the conversation. */
const DONE_BEFORE = new Set(["idempotency_key_reused", "stream_position_lost"]);
/** Until the first answer of `/readyz`. */
const UNKNOWN: Readiness = { status: "unknown" };
const UNREACHABLE: Readiness = { status: "unreachable" };

export class Session {
  conversations: Conversation[] = [];
  /** Where the next page of the list starts; null when there is none. */
  more: string | null = null;
  /** The open conversation, also one that is only here so far; null in a new one that nothing was said in. */
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
  /** What the browser says; whatever comes from the server knows better. */
  offline = false;
  readonly meter = new Meter();
  readonly client: Client;
  readonly outbox: Outbox;
  readonly courier: Courier;
  readonly tab: string;

  /** Events before this number were written before this page looked; null until the server has said so. */
  #live: number | null = null;
  /** While the page begins. */
  #starting: Promise<void> | null = null;
  /** Settles when the open conversation is there: what is sent before waits for it. */
  #opened: Promise<void> | null = null;
  /** The key of the question that is in the transcript and not accepted yet. */
  #asking: string | null = null;

  readonly #api: Api;
  readonly #memory: Memory;
  readonly #page: Page;

  constructor(api: Api, memory: Memory, outbox: Outbox, tab: string, page: Page) {
    this.#api = api;
    this.#memory = memory;
    this.#page = page;
    this.outbox = outbox;
    this.tab = tab;
    this.courier = new Courier(outbox, api, CLOCK, {
      tab,
      busyWith: () => this.#asking,
      created: (place, conversation) => this.#moved(place, conversation),
      delivered: (question) => void this.#delivered(question),
      locked: () => { this.locked = true; page.changed(); },
      lost: () => page.lost(),
      changed: () => page.changed(),
    });
    this.client = new Client(surroundings(api), {
      linked: (link) => this.#linked(link),
      event: (event) => this.#event(event),
      refused: (error) => void this.#refused(error),
      withdrawn: () => this.#show(withdrawn(this.transcript)),
      lost: () => page.lost(),
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

  /** What waits for the server in the open conversation, apart from the question that is being asked. */
  get unsent(): Question[] {
    return this.outbox.at(this.current).filter(({ key }) => key !== this.#asking);
  }

  /** One look at the node; the page looks again while it is not ready. */
  async look(): Promise<boolean> {
    this.readiness = await this.#api.ready().catch(() => UNREACHABLE);
    if (this.readiness !== UNREACHABLE) this.offline = false;
    this.#page.changed();
    return this.readiness.status === "ready";
  }

  async refreshList(): Promise<void> {
    const before = this.conversations;
    const page = await this.#api.conversations(null);
    if (this.conversations !== before) return this.refreshList(); // one was made meanwhile
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
    this.opening = !isLocal(id);
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
    if (!id || isLocal(id)) return;
    await this.#attempt(async () => {
      // In this order, an answer that ends in between is in both, and shows once; in the other it could be in neither.
      const conversation = await this.#api.conversation(id);
      const items = await this.#api.items(id);
      if (this.current !== id) return;
      this.transcript = opened(items);
      this.#asking = null;
      if (conversation.active_response_id) this.#follow(conversation.active_response_id);
    }, (error) => this.#gone(error));
    if (this.current === id) this.opening = false;
    this.#page.changed();
  }

  /** A turn may have been started elsewhere while nobody looked here. */
  async glance(): Promise<void> {
    if (!this.current || isLocal(this.current) || this.running || this.opening) return;
    const conversation = await this.#api.conversation(this.current).catch(() => null);
    if (conversation?.active_response_id && conversation.id === this.current && !this.running) await this.reload();
  }

  async send(text: string): Promise<void> {
    const { key } = this.#write(text);
    await this.#opened;
    const question = this.outbox.find(key);
    if (!question) return;
    if (this.running || question.place !== this.current) return this.#deferred(question);
    const earlier = this.unsent.some((other) => !other.held && other.key !== key);
    if (earlier || this.trouble) return this.courier.nudge();
    return this.#ask(question);
  }

  stop(): void {
    if (!this.running) return;
    this.stopping = true;
    if (this.#asking) this.outbox.change(this.#asking, { held: true });
    if (this.client.link.state === "idle") this.#show(withdrawn(this.transcript));
    else this.client.stop();
    this.#page.changed();
  }

  /** Asks the last question again, in place of the turn that failed. */
  async again(): Promise<void> {
    if (this.#asking) return this.#askAgain(this.#asking);
    const { key } = this.#write(lastQuestion(this.transcript), true);
    const { answer, history } = this.transcript;
    if ((!answer || answer.id) && this.current) await this.#api.rewind(this.current).catch(() => {});
    const question = history.findLastIndex((item) => item.role === "user");
    this.transcript = { history: history.slice(0, Math.max(question, 0)), answer: null };
    await this.#askAgain(key);
  }

  /** Sends a question that waits. */
  retry(key: string): void {
    const question = this.outbox.find(key);
    this.outbox.change(key, { owner: this.tab, ...(question?.held && { held: false, error: null, model: null }) });
    this.courier.nudge();
    this.#page.changed();
  }

  discard(key: string | null = this.#asking): void {
    if (!key) return;
    if (key === this.#asking) this.#unask();
    this.outbox.remove(key);
    if (isLocal(this.current) && !this.outbox.at(this.current).length) this.#leave(null);
    this.#page.changed();
  }

  /** Another tab changed what waits, or took something away: what came after it may go now. */
  noticed(removed: boolean): void {
    this.outbox.changed();
    if (this.#asking && !this.outbox.find(this.#asking)) {
      this.#unask();
      void this.reload();
    }
    if (removed) this.courier.nudge();
    else this.courier.notice();
    this.#page.changed();
  }

  /** The question stays this page's own: other tabs leave it alone. */
  touch(): void {
    if (this.#asking) this.outbox.change(this.#asking, { touched: Date.now() });
  }

  async rename(id: string, title: string): Promise<void> {
    await this.#attempt(async () => {
      await this.#api.rename(id, title);
      await this.refreshList();
    });
  }

  async remove(id: string): Promise<void> {
    await this.#attempt(async () => {
      if (!isLocal(id)) await this.#api.remove(id);
      if (this.current === id) this.#leave(null);
      this.outbox.clear(id);
      if (!isLocal(id)) await this.refreshList();
    });
  }

  async unlocked(): Promise<void> {
    this.locked = false;
    if (this.client.link.state === "unauthorized") this.client.nudge();
    this.outbox.changed();
    this.courier.nudge();
    if (!this.running) await this.start();
  }

  async #begin(): Promise<void> {
    const known = this.current ?? this.#memory.recall();
    const id = isLocal(known) && !this.outbox.at(known).length ? null : known;
    const opened = id && !this.running ? this.open(id) : null;
    if (!id) this.#page.arrived();
    this.courier.nudge();
    await this.#attempt(async () => {
      this.models = await this.#api.models();
      this.model ??= this.models[0] ?? null;
      await this.refreshList();
    });
    await opened;
  }

  /** Before anything else: what happens next may be the end of the page. */
  #write(text: string, held = false): Question {
    const key = uuid();
    const place = this.current ?? localPlace(key);
    const title = this.outbox.at(place)[0]?.title ?? titleOf(text);
    const at = Date.now();
    const question = { key, place, title, text, model: null, at, touched: at, owner: this.tab, held, error: null };
    this.outbox.put(question);
    this.outbox.write(this.current, "");
    if (this.current !== place) this.#settleAt(place);
    return question;
  }

  async #ask(question: Question): Promise<void> {
    const { key, text } = question;
    this.#asking = key;
    this.transcript = asked(this.transcript, text, `asked-${key}`);
    this.#beginTurn();
    this.#page.changed();
    try {
      const conversation = isLocal(question.place) ? await this.#create(question) : question.place;
      this.model ??= (await this.#api.models())[0] ?? "";
      const model = question.model ?? this.model;
      if (this.#asking !== key || !this.running || !this.outbox.change(key, { model })) return;
      this.client.ask({ type: "response.create", model, conversation, input: text, idempotency_key: key });
    } catch (error) {
      if (this.#asking === key) this.#notAsked(error);
    }
  }

  async #askAgain(key: string): Promise<void> {
    this.#unask();
    const question = this.outbox.change(key, { held: false, error: null, model: null, owner: this.tab });
    if (question) await this.#ask(question);
    else await this.reload();
  }

  /** Takes the question out of the transcript; it stays where it waits. */
  #unask(): void {
    if (!this.#asking) return;
    this.client.release();
    this.transcript = unasked(this.transcript, `asked-${this.#asking}`);
    this.#asking = null;
    this.stopping = false;
  }

  /** A server that is away is asked until it is back; a refusal is final. */
  #notAsked(error: unknown): void {
    const why = this.#read(error);
    const final = error instanceof HttpError && error.status < 500 && error.status !== 429;
    if (final) return void this.#refused(why);
    this.#unask();
    if (!(error instanceof Unauthorized)) this.courier.nudge();
    this.#page.changed();
  }

  /** Something else is running, or another conversation is open by now. */
  #deferred(question: Question): void {
    if (question.place === this.current) return this.#returned(question);
    this.courier.nudge();
    this.#page.changed();
  }

  /** Back to where it was written, or beside the conversation where something else is being written by now. */
  #returned(question: Question): void {
    if (this.#page.returned(question.text)) this.outbox.remove(question.key);
    else this.outbox.change(question.key, { held: true, error: { code: "conversation_locked", message: "" } });
    this.#page.changed();
  }

  async #create(question: Question): Promise<string> {
    const conversation = await this.#api.start(question.title, keyOf(question.place));
    this.outbox.move(question.place, conversation.id);
    this.#moved(question.place, conversation);
    return conversation.id;
  }

  #moved(place: string, conversation: Conversation): void {
    if (this.current === place) this.#settleAt(conversation.id);
    if (!this.conversations.some(({ id }) => id === conversation.id)) this.conversations = [conversation, ...this.conversations];
    this.#page.started(conversation.id, place);
    this.#page.changed();
  }

  async #delivered({ place }: Question): Promise<void> {
    this.#page.started(place);
    if (place === this.current && !this.#asking) await this.reload();
    this.#page.changed();
  }

  /** The same conversation has another name. */
  #settleAt(place: string | null): void {
    this.current = place;
    this.#memory.remember(place);
  }

  #leave(next: string | null): void {
    this.#page.leaving();
    this.client.release();
    this.#asking = null;
    this.#settleAt(next);
    this.transcript = EMPTY;
    this.trouble = null;
    this.opening = false;
    this.stopping = false;
    this.#page.arrived();
    this.courier.nudge();
    this.#page.changed();
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
    this.offline = false;
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
    if (this.#asking) this.outbox.remove(this.#asking);
    this.#asking = null;
    const createdAt = event.response?.created_at;
    if (this.followed && createdAt) this.meter.backdate(Date.now() / 1000 - createdAt);
    else if (this.current) this.#page.started(this.current);
  }

  async #refused(error: WireError): Promise<void> {
    const question = this.#asking === null ? null : this.outbox.find(this.#asking);
    if (question) return this.#rejected(question, error);
    if (error.code === "stream_position_lost" || error.code === "not_found" && this.transcript.answer?.id) {
      return this.reload();
    }
    this.#show(refused(this.transcript, error));
  }

  /** The server will not take a question, for good. */
  async #rejected(question: Question, error: WireError): Promise<void> {
    const unmade = isLocal(question.place); // the conversation was refused, and not the question
    if (DONE_BEFORE.has(error.code) && !unmade) {
      this.outbox.remove(question.key);
      return this.reload();
    }
    if (error.code === "conversation_locked") {
      // Somebody else was faster. Their answer is shown, and the question goes back to where it was written.
      this.#unask();
      this.#returned(question);
      return this.reload();
    }
    if (error.code === (unmade ? "idempotency_key_reused" : "not_found")) return this.#leave(this.outbox.rehouse(question, uuid(), error).place);
    this.outbox.change(question.key, { held: true, error });
    this.#show(refused(this.transcript, error));
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
    const id = this.current;
    if (!id || !(error instanceof HttpError) || error.status !== 404) return false;
    this.#page.leaving();
    for (const question of this.outbox.at(id)) this.outbox.rehouse(question, uuid(), { code: "not_found", message: "" });
    this.outbox.write(null, [this.outbox.draft(null), this.outbox.draft(id)].filter(Boolean).join("\n\n"));
    this.outbox.clear(id);
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
    this.#page.lost();
    return { code: "unreachable", message: "" };
  }
}
