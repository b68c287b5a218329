// What a screen reader hears: whole sentences, a few at a time, never single tokens.

import { h } from "./dom.ts";

const PAUSE = 2_500;
const SENTENCE_END = /[.!?…。！？]["'”’)\]]*(?=\s)|\n(?=\n)/g;

/** The text up to the last sentence that is complete. */
export function complete(text: string): string {
  let end = 0;
  for (const match of text.matchAll(SENTENCE_END)) end = match.index + match[0].length;
  return text.slice(0, end);
}

/** Markdown as one would read it aloud. */
export function speakable(markdown: string, codeBlock: string): string {
  return markdown
    .replace(/```[^\n]*\n[\s\S]*?(?:```|$)/g, ` ${codeBlock} `)
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/^\s*\|?[\s:|-]+\|[\s:|-]*$/gm, "")
    .replace(/^[\s>#]+|[*`_~]+/gm, "")
    .replace(/\|/g, ", ")
    .replace(/\s+/g, " ")
    .trim();
}

export class Announcer {
  readonly root = h("div", { class: "unseen", role: "status", "aria-live": "polite", "aria-atomic": "true" });
  readonly #codeBlock: string;
  /** How much of the running answer has been said. */
  #said = 0;
  #quietUntil = 0;

  constructor(codeBlock: string) {
    this.#codeBlock = codeBlock;
  }

  say(text: string): void {
    if (text) this.root.textContent = text;
  }

  begin(): void {
    this.#said = 0;
  }

  /** What was written before this page looked is not read out. */
  skip(text: string): void {
    this.#said = text.length;
  }

  follow(text: string, now: number): void {
    if (now < this.#quietUntil) return;
    const ready = complete(text.slice(this.#said));
    if (!ready || (ready.match(/```/g)?.length ?? 0) % 2) return;
    this.#speak(ready, now);
  }

  end(text: string, verdict: string): void {
    this.#speak(text.slice(this.#said), 0, verdict);
  }

  #speak(markdown: string, now: number, verdict = ""): void {
    this.#said += markdown.length;
    this.#quietUntil = now + PAUSE;
    this.say(`${speakable(markdown, this.#codeBlock)} ${verdict}`.trim());
  }
}
