// One socket that pursues one turn: it asks, reconnects, resumes and stops. No DOM; the WebSocket class, the delay and the
// dice are passed in, so that every way of losing a connection can be played in a test.

import { ENDS, numbered, type Create, type WireError, type WireEvent } from "./wire.ts";

export interface Socket {
  readyState: number;
  onopen: (() => void) | null;
  onclose: ((event: { code: number }) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  send(text: string): void;
  close(code?: number): void;
}

export type Link =
  | { state: "idle" | "connecting" | "reconnecting" | "open" | "unauthorized" }
  /** Lost, or told to come back later; `until` is in milliseconds of `now()`. */
  | { state: "waiting"; why: "lost" | "busy" | "loading"; until: number }
  | { state: "closed"; code: number };

export interface Surroundings {
  /** Where to connect, with a fresh ticket each time. May throw `Unauthorized`. */
  address(): Promise<string>;
  socket(url: string): Socket;
  delay(milliseconds: number, then: () => void): () => void;
  now(): number;
  random(): number;
}

export interface Listener {
  linked(link: Link): void;
  event(event: WireEvent): void;
  /** The server will not do it; nothing more comes for this turn. */
  refused(error: WireError): void;
  /** Stopped before the server had it. */
  withdrawn(): void;
  /** The connection broke: the server may be away. */
  lost(): void;
}

export class Unauthorized extends Error {}

type Advice = "nothing" | "reconnect" | "wait" | "give up";

/** The table of close codes; what is not listed is a network that broke. */
export const ADVICE: Readonly<Record<number, Advice>> = {
  1000: "nothing", 1008: "give up", 1009: "give up", 1011: "reconnect", 1012: "reconnect", 1013: "wait",
};

const HOLD: Readonly<Record<string, "busy" | "loading">> = {
  server_overloaded: "busy", rate_limit_exceeded: "busy", model_loading: "loading",
};

const SHORTEST = 500;
const LONGEST = 20_000;
/** A waiting turn gets an event every 15 s: three missed ones mean a dead connection that nobody reported. */
const SILENCE = 45_000;
const STALE = 20_000;
const NORMAL = 1000;
const NO_CLOSE_FRAME = 1006;
const OPEN = 1;

interface Pursuit {
  readonly create: Create | null;
  /** Set by `response.created`. */
  id: string | null;
  next: number;
  sent: boolean;
  stopping: boolean;
}

export class Client {
  readonly #around: Surroundings;
  readonly #listener: Listener;
  #link: Link = { state: "idle" };
  #socket: Socket | null = null;
  #pursuit: Pursuit | null = null;
  /** Tries since the last event; decides how long to wait. */
  #attempt = 0;
  /** Whoever awaits checks that it is still the newest try. */
  #epoch = 0;
  #heard = 0;
  #cancelTimer: () => void = () => {};
  #cancelWatch: () => void = () => {};

  constructor(around: Surroundings, listener: Listener) {
    this.#around = around;
    this.#listener = listener;
  }

  get link(): Link {
    return this.#link;
  }

  ask(create: Create): void {
    this.#pursue({ create, id: null, next: 0, sent: false, stopping: false });
  }

  follow(id: string): void {
    this.#pursue({ create: null, id, next: 0, sent: false, stopping: false });
  }

  stop(): void {
    const pursuit = this.#pursuit;
    if (!pursuit || pursuit.stopping) return;
    pursuit.stopping = true;
    if (!pursuit.id && (!pursuit.sent || this.#link.state === "waiting" && this.#link.why !== "lost")) return this.#withdraw();
    if (pursuit.id) this.#send({ type: "throughline:cancel", response_id: pursuit.id });
    if (this.#link.state === "closed") this.nudge();
  }

  /** Something suggests that now is a good moment: the network is back, the page is visible, the user pressed retry. */
  nudge(): void {
    const state = this.#link.state;
    if (!this.#pursuit) return;
    if (state === "open" && this.#around.now() - this.#heard > STALE) return this.#lost(NO_CLOSE_FRAME);
    if (state === "waiting" || state === "closed" || state === "unauthorized") this.#proceed();
  }

  /** The network is back: a socket from before it went is not to be trusted. */
  distrust(): void {
    if (this.#socket && this.#pursuit) this.#lost(NO_CLOSE_FRAME, 0);
    else this.nudge();
  }

  release(): void {
    this.#pursuit = null;
    this.#discard();
    this.#set({ state: "idle" });
  }

  #pursue(pursuit: Pursuit): void {
    this.#pursuit = pursuit;
    this.#attempt = 0;
    this.#proceed();
  }

  #proceed(): void {
    this.#cancelTimer();
    if (this.#socket?.readyState === OPEN) return this.#request();
    this.#discard();
    void this.#connect();
  }

  async #connect(): Promise<void> {
    const epoch = ++this.#epoch;
    this.#set({ state: this.#attempt ? "reconnecting" : "connecting" });
    try {
      const url = await this.#around.address();
      if (epoch === this.#epoch) this.#attach(this.#around.socket(url));
    } catch (error) {
      if (epoch !== this.#epoch) return;
      if (error instanceof Unauthorized) this.#set({ state: "unauthorized" });
      else this.#lost(NO_CLOSE_FRAME);
    }
  }

  #attach(socket: Socket): void {
    const current = (act: () => void) => () => { if (this.#socket === socket) act(); };
    this.#socket = socket;
    this.#watch();
    socket.onopen = current(() => this.#request());
    socket.onclose = (event) => current(() => this.#lost(event.code))();
    socket.onmessage = (event) => current(() => this.#receive(event.data))();
  }

  #request(): void {
    const pursuit = this.#pursuit;
    if (!pursuit) return this.#set({ state: "idle" });
    this.#set({ state: "open" });
    this.#watch();
    pursuit.sent = true;
    if (pursuit.id) this.#send(resume(pursuit.id, pursuit.next));
    else if (pursuit.create) this.#send(pursuit.create);
    if (pursuit.id && pursuit.stopping) this.#send({ type: "throughline:cancel", response_id: pursuit.id });
  }

  #receive(data: unknown): void {
    const event = parse(data);
    const pursuit = this.#pursuit;
    if (!event || !pursuit) return;
    this.#watch();
    if (event.type === "error") return this.#failed(event.error ?? { code: "unknown", message: "" });
    this.#attempt = 0;
    this.#note(pursuit, event);
    if (ENDS.has(event.type)) this.#finish();
    this.#listener.event(event);
  }

  #note(pursuit: Pursuit, event: WireEvent): void {
    if (!numbered(event)) return;
    pursuit.next = Math.max(pursuit.next, event.sequence_number! + 1);
    if (pursuit.id || !event.response) return;
    pursuit.id = event.response.id;
    if (pursuit.stopping) this.#send({ type: "throughline:cancel", response_id: pursuit.id });
  }

  #failed(error: WireError): void {
    const hold = HOLD[error.code];
    if (hold) return this.#hold(hold, error);
    if (error.code === "websocket_connection_limit_reached") return this.#lost(NO_CLOSE_FRAME);
    if (error.code === "invalid_api_key") return this.#set({ state: "unauthorized" });
    this.#finish();
    this.#listener.refused(error);
  }

  #hold(why: "busy" | "loading", error: WireError): void {
    if (this.#pursuit?.stopping && !this.#pursuit.id) return this.#withdraw();
    const seconds = Number(error.headers?.["retry-after"]);
    this.#retryAfter(why, seconds > 0 ? seconds * 1000 : this.#backoff());
  }

  /** All ways of losing the socket end here. */
  #lost(code: number, after?: number): void {
    this.#discard();
    if (code !== NORMAL) this.#listener.lost();
    if (!this.#pursuit) return this.#set({ state: "idle" });
    const advice = ADVICE[code] ?? "reconnect";
    if (advice === "nothing" || advice === "give up") return this.#set({ state: "closed", code });
    if (advice === "wait") this.#attempt = Math.max(this.#attempt, 2);
    this.#retryAfter("lost", after ?? this.#backoff());
  }

  #backoff(): number {
    const ceiling = Math.min(LONGEST, SHORTEST * 2 ** (this.#attempt + 1));
    return SHORTEST + this.#around.random() * (ceiling - SHORTEST);
  }

  #retryAfter(why: "lost" | "busy" | "loading", milliseconds: number): void {
    this.#attempt += 1;
    this.#cancelWatch();
    this.#set({ state: "waiting", why, until: this.#around.now() + milliseconds });
    this.#cancelTimer();
    this.#cancelTimer = this.#around.delay(milliseconds, () => this.#proceed());
  }

  #withdraw(): void {
    this.release();
    this.#listener.withdrawn();
  }

  #finish(): void {
    this.#pursuit = null;
    this.#cancelWatch();
    this.#cancelTimer();
    this.#set({ state: "idle" });
  }

  #discard(): void {
    this.#epoch += 1;
    this.#cancelTimer();
    this.#cancelWatch();
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #watch(): void {
    this.#heard = this.#around.now();
    this.#cancelWatch();
    if (this.#pursuit) this.#cancelWatch = this.#around.delay(SILENCE, () => this.#lost(NO_CLOSE_FRAME));
  }

  #send(message: object): void {
    if (this.#socket?.readyState === OPEN) this.#socket.send(JSON.stringify(message));
  }

  #set(link: Link): void {
    this.#link = link;
    this.#listener.linked(link);
  }
}

function resume(id: string, next: number): object {
  const message = { type: "throughline:resume", response_id: id };
  return next > 0 ? { ...message, starting_after: next - 1 } : message;
}

function parse(data: unknown): WireEvent | null {
  try {
    const event = JSON.parse(String(data)) as WireEvent;
    return typeof event?.type === "string" ? event : null;
  } catch {
    return null;
  }
}
