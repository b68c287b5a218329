// The form that asks for an API key, shown when the server does.

import { h, setText } from "./dom.ts";
import type { Strings } from "./strings.ts";

export class KeyForm {
  readonly root: HTMLFormElement;
  readonly #field: HTMLInputElement;
  readonly #problem = h("p", { class: "problem", role: "alert" });

  constructor(words: Strings, submit: (key: string) => void) {
    this.#field = h("input", { type: "password", autocomplete: "off", placeholder: words.keyLabel, "aria-label": words.keyLabel, required: true });
    this.root = h("form", {
      class: "key", hidden: true,
      submit: (event: Event) => {
        event.preventDefault();
        submit(this.#field.value.trim());
      },
    }, h("h2", {}, words.keyTitle), h("p", {}, words.keyText), this.#field, this.#problem, h("button", { class: "primary" }, words.unlock));
  }

  show(locked: boolean, problem: string): void {
    setText(this.#problem, problem);
    if (this.root.hidden !== locked) return;
    this.root.hidden = !locked;
    if (locked) this.#field.focus();
    else this.#field.value = "";
  }
}
