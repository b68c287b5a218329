// The questions that the server does not have, below the conversation that they belong to.

import { h, setText } from "./dom.ts";
import type { Question } from "./outbox.ts";
import type { Session } from "./session.ts";
import { LineView, type Line } from "./status.ts";
import { sentence, type Strings } from "./strings.ts";

interface Row {
  root: HTMLElement;
  text: HTMLElement;
  line: LineView;
}

export class UnsentView {
  readonly root = h("div", { class: "unsent" });
  readonly #session: Session;
  readonly #words: Strings;
  readonly #rows = new Map<string, Row>();

  constructor(session: Session, words: Strings) {
    this.#session = session;
    this.#words = words;
  }

  show(questions: readonly Question[], now: number): void {
    const present = new Set(questions.map(({ key }) => key));
    for (const [key, { root }] of this.#rows) if (!present.has(key)) { root.remove(); this.#rows.delete(key); }
    for (const [index, question] of questions.entries()) this.#draw(question, index, now);
  }

  #draw(question: Question, index: number, now: number): void {
    const row = this.#rows.get(question.key) ?? this.#made(question.key);
    if (this.root.children[index] !== row.root) this.root.insertBefore(row.root, this.root.children[index] ?? null);
    setText(row.text, question.text);
    const line = this.#line(question, index, now);
    row.line.show(line, line.action === "nudge" ? this.#words.tryNow : line.action ? this.#words.tryAgain : "", this.#words.discard);
  }

  #made(key: string): Row {
    const text = h("div", { class: "bubble", dir: "auto" });
    const line = new LineView("status", () => this.#session.retry(key), () => this.#session.discard(key));
    const root = h("article", { class: "question", "aria-label": this.#words.you }, h("h2", { class: "unseen" }, this.#words.you), text, line.root);
    const row = { root, text, line };
    this.#rows.set(key, row);
    return row;
  }

  #line(question: Question, index: number, now: number): Line {
    const words = this.#words;
    const kept = this.#session.outbox.isKept(question.key) ? "" : words.notKept;
    if (question.held) {
      const text = question.error ? words.notSentYet(sentence(words, question.error)) : words.notSent;
      return { text, detail: kept, tone: "error", action: "again", discard: true };
    }
    const { why, until } = this.#session.courier;
    const again = until === null || !why || index > 0 ? "" : words.again(Math.max(0, Math.ceil((until - now) / 1000)));
    const text = index > 0 ? words.notSentYet(words.waits) : why ? words.notSentYet(sentence(words, why)) : until === null ? words.sending : words.notSentYet(words.waitsForOthers);
    return { text, detail: [again, kept].filter(Boolean).join(" · "), tone: "busy", action: "nudge", discard: true };
  }
}
