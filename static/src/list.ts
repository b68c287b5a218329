// The list of conversations, and what can be done with one.

import type { Conversation } from "./api.ts";
import { isLocal } from "./outbox.ts";
import { h, icon, iconButton } from "./dom.ts";
import type { Session } from "./session.ts";
import type { Strings } from "./strings.ts";

export interface Choices {
  fresh(): void;
  open(id: string): void;
  close(): void;
}

export class ListView {
  readonly root: HTMLElement;
  readonly #session: Session;
  readonly #words: Strings;
  readonly #choices: Choices;
  readonly #items = h("ul");
  readonly #more: HTMLButtonElement;
  readonly #none: HTMLElement;
  readonly #fresh: HTMLButtonElement;
  /** What is drawn; nothing is drawn again while it stays. */
  #shown: { list: readonly Conversation[]; current: string | null; unsent: string } | null = null;

  constructor(session: Session, words: Strings, choices: Choices) {
    this.#session = session;
    this.#words = words;
    this.#choices = choices;
    this.#more = h("button", { type: "button", class: "more", click: () => void session.showMore() }, words.showMore);
    this.#none = h("p", { class: "none" }, words.noChats);
    this.#fresh = h("button", { type: "button", class: "fresh", click: () => choices.fresh() }, icon("plus"), words.newChat);
    const close = iconButton("close", words.closeList, () => choices.close(), { class: "icon close" });
    const head = h("div", { class: "head" }, h("h2", {}, words.product), close);
    this.root = h("nav", { class: "list", "aria-label": words.chats },
      head, this.#fresh, h("div", { class: "entries" }, this.#items, this.#none, this.#more));
  }

  focus(): void {
    this.#fresh.focus();
  }

  show(): void {
    const { conversations: list, current, more, outbox } = this.#session;
    this.#more.hidden = more === null;
    const questions = outbox.questions();
    const places = questions.map(({ place }) => place).join();
    if (this.#shown?.list === list && this.#shown.current === current && this.#shown.unsent === places) return;
    this.#shown = { list, current, unsent: places };
    const unsent = new Map(questions.map((question) => [question.place, question]));
    const known = new Set(list.map(({ id }) => id));
    // What is only here comes first: it is what a person looks for after a bad moment.
    const local = [...unsent.values()].filter(({ place }) => !known.has(place)).reverse()
      .map(({ place, title, at }) => ({ id: place, created_at: at / 1000, metadata: { title } }));
    const all: Conversation[] = [...local, ...list];
    this.#none.hidden = all.length > 0;
    this.#items.replaceChildren(...all.map((entry) => this.#entry(entry, entry.id === current, unsent.has(entry.id))));
  }

  #entry(conversation: Conversation, current: boolean, unsent: boolean): HTMLElement {
    const title = conversation.metadata?.["title"] || this.#words.untitled;
    const remove = iconButton("trash", `${this.#words.remove}: ${title}`, () => this.#remove(conversation.id, title));
    const open = h("button", {
      type: "button", class: "open", dir: "auto", "aria-current": current ? "true" : undefined,
      click: () => this.#choices.open(conversation.id),
    }, title);
    const mark = unsent ? h("span", { class: "mark" }, this.#words.notSent) : null;
    const rename = isLocal(conversation.id) ? null
      : iconButton("edit", `${this.#words.rename}: ${title}`, () => this.#rename(entry, conversation.id, title));
    const entry: HTMLElement = h("li", {}, open, mark, rename, remove);
    return entry;
  }

  #rename(entry: HTMLElement, id: string, title: string): void {
    const restore = () => {
      this.#shown = null;
      this.show();
    };
    const save = () => void this.#session.rename(id, field.value.trim() || title);
    const field = h("input", {
      type: "text", value: title, "aria-label": this.#words.titleLabel, maxlength: "200", dir: "auto",
      blur: restore,
      keydown: (event: KeyboardEvent) => {
        if (event.key === "Enter" && !event.isComposing) save();
        if (event.key === "Enter" && !event.isComposing || event.key === "Escape") restore();
        event.stopPropagation();
      },
    });
    entry.replaceChildren(field);
    field.select();
  }

  #remove(id: string, title: string): void {
    const words = this.#words;
    const button = (label: string, kind: string) => h("button", { value: kind, class: kind }, label);
    const dialog = h("dialog", {
      class: "confirm", "aria-label": words.removeQuestion(title),
      close: () => {
        dialog.remove();
        if (dialog.returnValue === "danger") void this.#session.remove(id).then(() => this.focus());
      },
    }, h("form", { method: "dialog" },
      h("h2", {}, words.removeQuestion(title)), h("p", {}, isLocal(id) ? words.removeUnsent : words.removeDetail),
      h("div", { class: "choices" }, button(words.cancel, "plain"), button(words.remove, "danger"))));
    this.root.append(dialog);
    dialog.showModal();
  }
}
