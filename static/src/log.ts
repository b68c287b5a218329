// The conversation on the page: one view for each item, kept as long as the item is there.

import { h, iconButton } from "./dom.ts";
import { viewOf, type ItemView } from "./item.ts";
import { copy } from "./plain.ts";
import { Follower } from "./scroll.ts";
import type { LineView } from "./status.ts";
import type { Strings } from "./strings.ts";
import { running, textOf, visible, type Item, type Transcript } from "./transcript.ts";

const COPIED = 1_600;

interface Row {
  view: ItemView | null;
  item: Item | null;
  live: boolean;
}

export class LogView {
  readonly root: HTMLElement;
  readonly follower: Follower;
  readonly #words: Strings;
  readonly #list = h("div", { class: "rows" });
  readonly #latest: HTMLButtonElement;
  #rows = new Map<string, Row>();

  constructor(words: Strings, empty: HTMLElement, status: LineView, unsent: HTMLElement) {
    this.#words = words;
    const column = h("div", { class: "column" }, empty, this.#list, status.root, unsent);
    const scroller = h("div", {
      class: "scroller", role: "log", "aria-live": "off", "aria-label": words.conversation, tabindex: "0",
      click: (event: MouseEvent) => void this.#clicked(event),
    }, column);
    this.follower = new Follower(scroller, () => this.#showLatest());
    this.#latest = iconButton("down", words.latest, () => this.follower.toEnd(), { class: "icon latest", hidden: true });
    this.root = h("div", { class: "log" }, scroller, this.#latest);
  }

  show(transcript: Transcript): void {
    const live = running(transcript) ? new Set(transcript.answer?.items) : new Set<Item>();
    const rows = new Map<string, Row>();
    for (const item of visible(transcript)) rows.set(item.id, this.#row(item, live.has(item)));
    for (const [id, row] of this.#rows) if (!rows.has(id)) row.view?.root.remove();
    this.#rows = rows;
    this.#arrange();
    this.follower.settle();
    this.#showLatest();
  }

  #row(item: Item, live: boolean): Row {
    const row = this.#rows.get(item.id) ?? { view: viewOf(item, this.#words), item: null, live };
    if (row.item !== item || row.live !== live) row.view?.show(item, live);
    row.item = item;
    row.live = live;
    return row;
  }

  #arrange(): void {
    let next = this.#list.firstElementChild;
    for (const { view } of this.#rows.values()) {
      if (!view) continue;
      if (view.root === next) next = next.nextElementSibling;
      else this.#list.insertBefore(view.root, next);
    }
  }

  #showLatest(): void {
    this.#latest.hidden = this.follower.following;
  }

  async #clicked(event: MouseEvent): Promise<void> {
    const button = (event.target as Element).closest<HTMLElement>("[data-act]");
    if (!button) return;
    const text = button.dataset["act"] === "copy-code"
      ? button.closest("figure")?.querySelector("code")?.textContent
      : this.#textAround(button);
    const done = await copy(text ?? "", this.root);
    button.focus();
    this.#acknowledge(button, done ? this.#words.copied : this.#words.copyFailed);
  }

  #textAround(button: HTMLElement): string {
    const article = button.closest("article");
    const row = [...this.#rows.values()].find(({ view }) => view?.root === article);
    return row?.item ? textOf(row.item) : "";
  }

  #acknowledge(button: HTMLElement, text: string): void {
    button.dataset["said"] = text;
    this.root.dispatchEvent(new CustomEvent("said", { detail: text }));
    setTimeout(() => delete button.dataset["said"], COPIED);
  }
}
