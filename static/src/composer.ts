// Where one writes. Enter sends, unless an input method is still composing.

import { h, icon } from "./dom.ts";
import type { Strings } from "./strings.ts";

/** What browsers report for a key that an input method has taken. */
const PROCESSED_KEY = 229;
const GROWS_BY_ITSELF = CSS.supports("field-sizing", "content");

export class Composer {
  readonly root: HTMLFormElement;
  readonly #words: Strings;
  readonly #field: HTMLTextAreaElement;
  readonly #button = h("button", { type: "submit", class: "send" });
  readonly #send: (text: string) => void;
  readonly #stop: () => void;
  readonly #typed: () => void;
  #running: boolean | null = null;

  constructor(words: Strings, send: (text: string) => void, stop: () => void, typed: () => void) {
    this.#words = words;
    this.#send = send;
    this.#stop = stop;
    this.#typed = typed;
    this.#field = h("textarea", {
      rows: "1", dir: "auto", placeholder: words.placeholder, "aria-label": words.messageLabel, enterkeyhint: "send",
      keydown: (event: KeyboardEvent) => this.#key(event), input: () => this.#written(),
    });
    this.root = h("form", { class: "composer", submit: (event: Event) => this.#submitted(event) },
      h("div", { class: "box" }, this.#field, this.#button), h("p", { class: "hint" }, words.hint));
    this.show(false);
  }

  show(running: boolean): void {
    if (running === this.#running) return;
    this.#running = running;
    const label = running ? this.#words.stop : this.#words.send;
    this.#button.replaceChildren(icon(running ? "stop" : "send"));
    this.#button.classList.toggle("stop", running);
    this.#button.setAttribute("aria-label", label);
    this.#button.title = label;
    this.#changed();
  }

  focus(): void {
    this.#field.focus({ preventScroll: true });
  }

  get draft(): string {
    return this.#field.value;
  }

  set draft(text: string) {
    this.#field.value = text;
    this.#changed();
  }

  #key(event: KeyboardEvent): void {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === PROCESSED_KEY) return;
    event.preventDefault();
    if (!this.#running) this.#submit();
  }

  #submitted(event: Event): void {
    event.preventDefault();
    if (this.#running) this.#stop();
    else this.#submit();
    this.focus();
  }

  #submit(): void {
    const text = this.draft.trim();
    if (!text) return;
    this.#send(text);
    this.draft = "";
  }

  #written(): void {
    this.#changed();
    this.#typed();
  }

  #changed(): void {
    this.#button.disabled = !this.#running && !this.draft.trim();
    if (GROWS_BY_ITSELF) return;
    this.#field.style.blockSize = "auto";
    this.#field.style.blockSize = `${this.#field.scrollHeight}px`;
  }
}
