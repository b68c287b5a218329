// One item of a conversation: a question, an answer, thoughts, or a call.

import { h, icon, setText } from "./dom.ts";
import { Markdown } from "./markdown.ts";
import { paint } from "./paint.ts";
import type { Strings } from "./strings.ts";
import { textOf, type Item } from "./transcript.ts";

export interface ItemView {
  readonly root: HTMLElement;
  show(item: Item, live: boolean): void;
}

export function viewOf(item: Item, words: Strings): ItemView | null {
  if (item.type === "message") return item.role === "user" ? question(words) : answer(words);
  if (item.type === "reasoning") return reasoning(words);
  return item.type === "function_call" ? call(item, words) : null;
}

function question(words: Strings): ItemView {
  const text = h("div", { class: "bubble", dir: "auto" });
  return { root: article("question", words.you, text), show: (item) => setText(text, textOf(item)) };
}

function answer(words: Strings): ItemView {
  const prose = h("div", { class: "prose" });
  const copy = h("button", { type: "button", class: "icon", "data-act": "copy-answer", "aria-label": words.copy, title: words.copy }, icon("copy"));
  const tools = h("div", { class: "tools", hidden: true }, copy);
  const markdown = new Markdown(prose, words, paint);
  return {
    root: article("answer", words.assistant, prose, tools),
    show: (item, live) => {
      markdown.show(textOf(item), !live);
      tools.hidden = live || !textOf(item);
    },
  };
}

/** Its heading is for those who walk through a conversation from heading to heading. */
function article(kind: string, name: string, ...children: HTMLElement[]): HTMLElement {
  return h("article", { class: kind, "aria-label": name }, h("h2", { class: "unseen" }, name), ...children);
}

function reasoning(words: Strings): ItemView {
  const prose = h("div", { class: "prose" });
  const markdown = new Markdown(prose, words, paint);
  const root = h("details", { class: "aside" }, h("summary", {}, words.reasoning), prose);
  return { root, show: (item, live) => markdown.show(textOf(item), !live) };
}

function call(item: Item, words: Strings): ItemView {
  const text = h("code", { dir: "ltr" });
  const root = h("details", { class: "aside" }, h("summary", {}, words.called(item.name)), h("pre", { tabindex: "0" }, text));
  return { root, show: (current) => setText(text, textOf(current)) };
}
