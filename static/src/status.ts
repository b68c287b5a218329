// The line under the conversation that says what is happening, and the bar above it that says how the server is.

import type { Readiness } from "./api.ts";
import type { Link } from "./client.ts";
import { h, setText } from "./dom.ts";
import type { Session } from "./session.ts";
import { sentence, type Strings } from "./strings.ts";
import type { Answer } from "./transcript.ts";

export interface Line {
  text: string;
  /** Changes with time, for the eye only: never announced. */
  detail: string;
  tone: "busy" | "quiet" | "error";
  action: "nudge" | "again" | null;
  /** The server does not have the question, so it can be taken back. */
  discard?: boolean;
}

const line = (text: string, detail = "", tone: Line["tone"] = "busy", action: Line["action"] = null): Line =>
  ({ text, detail, tone, action });

/** What the open turn is doing, in words; null when there is nothing to say. */
export function describe(session: Session, words: Strings, now: number): Line | null {
  const answer = session.transcript.answer;
  if (!answer) return left(session, words);
  return session.running ? moving(session, answer, words, now) : ended(answer, words);
}

function moving(session: Session, answer: Answer, words: Strings, now: number): Line {
  const link = session.client.link;
  const elapsed = words.seconds(session.meter.seconds);
  if (link.state !== "open" && link.state !== "idle") return unsent(linked(link, words, now), answer, words);
  if (session.stopping) return line(words.stopping);
  const pause = session.pause;
  if (pause?.kind === "queue") return line(words.position(pause.position), pause.seconds === null ? elapsed : words.about(Math.ceil(pause.seconds)));
  if (pause && pause.kind !== "prefill") return line(words[pause.kind], elapsed);
  return line(phase(answer, words), [elapsed, speed(session, words)].filter(Boolean).join(" · "));
}

function linked(link: Link, words: Strings, now: number): Line {
  switch (link.state) {
    case "waiting": return line(words[wait(link.why)], words.again(Math.max(0, Math.ceil((link.until - now) / 1000))), "busy", "nudge");
    case "closed": return line(words.closed[link.code] ?? words.unknownError, "", "error", "nudge");
    case "reconnecting": return line(words.reconnecting);
    default: return line(words.connecting);
  }
}

/** As long as the server has not said that it has the question, that is what matters. */
function unsent(current: Line, answer: Answer, words: Strings): Line {
  if (answer.status !== "sent" || !current.action) return current;
  return { ...current, text: words.notSentYet(current.text), discard: true };
}

function wait(why: "lost" | "busy" | "loading"): "lost" | "busy" | "modelLoading" {
  return why === "loading" ? "modelLoading" : why;
}

function phase(answer: Answer, words: Strings): string {
  const last = answer.items.at(-1);
  if (answer.status === "sent") return words.sending;
  if (answer.status === "queued") return words.queued;
  if (!last) return words.reading;
  return last.type === "reasoning" ? words.thinking : words.writing;
}

function speed(session: Session, words: Strings): string {
  const tokens = session.meter.speed;
  return tokens === null || tokens < 0.5 ? "" : words.speed(Math.round(tokens));
}

function ended(answer: Answer, words: Strings): Line | null {
  const discard = answer.id === null;
  if (answer.status === "cancelled" && discard) return { ...line(words.notSent, "", "quiet", "again"), discard };
  if (answer.status === "cancelled") return line(words.stopped, "", "quiet");
  if (answer.status === "failed") return { ...line(answer.error ? sentence(words, answer.error) : words.unknownError, answer.error?.code ?? "", "error", "again"), discard };
  if (answer.status !== "incomplete") return null;
  return line(answer.reason === "max_output_tokens" ? words.cutOff : words.incomplete, "", "quiet");
}

/** How a conversation was left that was opened again. */
function left(session: Session, words: Strings): Line | null {
  const last = session.transcript.history.at(-1);
  if (last?.role === "user") return line(words.unanswered, "", "quiet", "again");
  return last?.cut ? line(words.incomplete, "", "quiet") : null;
}

/** How the server is; null when it is well. */
export function health(readiness: Readiness, offline: boolean, words: Strings): Line | null {
  if (offline) return line(words.offline, words.offlineDetail, "error");
  const engine = readiness.engine;
  if (readiness.status === "ready" || readiness.status === "unknown") return null;
  if (readiness.status === "unreachable") return line(words.unreachable, words.retrying, "error");
  if (readiness.redis?.state === "down") return line(words.storeDown, words.retrying, "error");
  if (engine?.state === "failed") return line(words.loadFailed, engine.error ?? "", "error");
  if (engine?.state === "stopped") return line(words.engineStopped, "", "error");
  return line(words.loadingModel(engine?.model ?? ""), words.seconds(Math.floor(engine?.seconds ?? 0)));
}

export class LineView {
  readonly root: HTMLElement;
  readonly #discard: HTMLButtonElement;
  readonly #text = h("span", { class: "words" });
  readonly #detail = h("span", { class: "detail" });
  readonly #button: HTMLButtonElement;

  constructor(name: string, click: () => void, discard: () => void = () => {}) {
    this.#button = h("button", { type: "button", click });
    this.#discard = h("button", { type: "button", click: discard });
    const actions = h("span", { class: "actions" }, this.#button, this.#discard);
    this.root = h("div", { class: name, hidden: true }, h("span", { class: "dot" }), this.#text, this.#detail, actions);
  }

  show(current: Line | null, label = "", discard = ""): void {
    this.root.hidden = !current;
    if (!current) return;
    this.root.dataset["tone"] = current.tone;
    setText(this.#text, current.text);
    setText(this.#detail, current.detail);
    setText(this.#button, label);
    this.#button.hidden = !label;
    setText(this.#discard, current.discard ? discard : "");
    this.#discard.hidden = !current.discard || !discard;
  }
}
