// Markdown as it is being written: marked's lexer makes tokens, this makes DOM nodes of them. No HTML is ever parsed: tags
// in the text show as text. Blocks that can no longer change are left alone; only the tail is parsed and drawn again.

import { Lexer, type Links, type MarkedToken, type Token, type Tokens } from "marked";
import { h, type Child } from "./dom.ts";
import { decode } from "./entities.ts";
import { formulas, unfinished, type Formula } from "./formula.ts";
import { morph } from "./morph.ts";

const SCHEMES = new Set(["http:", "https:", "mailto:"]);

export interface Words {
  copy: string;
  code: string;
  image: string;
  done: string;
  open: string;
}

export class Markdown {
  readonly root: HTMLElement;
  readonly #words: Words;
  /** Told of every block that can no longer change. */
  readonly #settledBlock: (block: Element) => void;
  #text = "";
  /** How much of the text, and how many of the nodes, can no longer change. */
  #settled = { characters: 0, nodes: 0 };
  #links: Links = {};

  constructor(root: HTMLElement, words: Words, settledBlock: (block: Element) => void = () => {}) {
    this.root = root;
    this.#words = words;
    this.#settledBlock = settledBlock;
  }

  /** `done` when nothing follows. Text that does not go on from what was shown replaces it. */
  show(source: string, done: boolean): void {
    const text = source.includes("\r") ? source.replace(/\r\n?/g, "\n") : source;
    if (!text.startsWith(this.#text.slice(0, this.#settled.characters))) this.#restart();
    // A link definition may be used before it is given: then everything is read once more.
    if (done && Object.keys(this.#links).length) this.#restart();
    this.#text = text;
    const tokens = this.#lex(text.slice(this.#settled.characters));
    const blocks = tokens.map((token) => block(token, this.#words));
    morph(this.root, this.#settled.nodes, blocks.filter((node) => node !== null));
    const before = this.#settled.nodes;
    this.#settle(tokens, blocks);
    const end = done ? this.root.children.length : this.#settled.nodes;
    for (let index = before; index < end; index++) this.#settledBlock(this.root.children[index]!);
  }

  #lex(tail: string): Token[] {
    const lexer = new Lexer({ gfm: true, extensions: formulas });
    lexer.tokens.links = { ...this.#links };
    return lexer.lex(tail);
  }

  /** What stands before a block is settled as soon as that block's first line is complete. */
  #settle(tokens: Token[], blocks: (Node | null)[]): void {
    const text = tokens.map((token) => token.raw);
    const last = tokens.findLastIndex(({ type }, index) => type !== "space" && text.slice(index).join("").includes("\n"));
    const count = Math.max(0, Math.min(last, unfinished(tokens) ?? last));
    for (const token of tokens.slice(0, count)) {
      this.#settled.characters += token.raw.length;
      if (token.type === "def") this.#links[token["tag"]] = { href: token["href"], title: token["title"] };
    }
    this.#settled.nodes += blocks.slice(0, count).filter((node) => node !== null).length;
  }

  #restart(): void {
    this.#settled = { characters: 0, nodes: 0 };
    this.#links = {};
  }
}

/** The address if a click on it is harmless, otherwise null. */
export function safeAddress(href: string): string | null {
  if (!URL.canParse(href)) return null;
  const url = new URL(href);
  return SCHEMES.has(url.protocol) ? url.href : null;
}

function block(generic: Token, words: Words): Node | null {
  const token = generic as MarkedToken | Formula;
  switch (token.type) {
    case "space": case "def": return null;
    case "heading": return h(headingTag(token.depth), { dir: "auto", "data-depth": String(token.depth) }, ...inlines(token.tokens, words));
    case "paragraph": return h("p", { dir: "auto" }, ...inlines(token.tokens, words));
    case "text": return h("p", { dir: "auto" }, ...inlines(token.tokens ?? [token], words));
    case "html": return h("p", { dir: "auto" }, token.text.trimEnd());
    case "code": return code(token, words);
    case "blockquote": return h("blockquote", { dir: "auto" }, ...blocks(token.tokens, words));
    case "list": return list(token, words);
    case "table": return table(token, words);
    case "hr": return h("hr");
    case "formula": return h("p", {}, formula(token as Formula));
    default: return h("p", { dir: "auto" }, ...inlines([token], words));
  }
}

function blocks(tokens: Token[], words: Words): Child[] {
  return tokens.map((token) => block(token, words));
}

/** The page and each answer have headings above these. Most answers begin with the second level. */
function headingTag(depth: number): "h3" | "h4" | "h5" | "h6" {
  return (["h3", "h3", "h4", "h5"] as const)[depth - 1] ?? "h6";
}

function code(token: Tokens.Code, words: Words): Node {
  const language = (token.lang ?? "").split(/[\s{]/)[0]!;
  const copy = h("button", { type: "button", "data-act": "copy-code" }, words.copy);
  return h("figure", { class: "code", dir: "ltr" },
    h("figcaption", {}, h("span", {}, language || words.code), copy),
    h("pre", { tabindex: "0", "aria-label": language || words.code }, h("code", { "data-language": language || undefined }, token.text)));
}

function list(token: Tokens.List, words: Words): Node {
  const start = token.ordered && token.start !== "" && token.start !== 1 ? String(token.start) : undefined;
  const items = token.items.map((item) => listItem(item, token.loose, words));
  return token.ordered ? h("ol", { dir: "auto", start }, ...items) : h("ul", { dir: "auto" }, ...items);
}

function listItem(item: Tokens.ListItem, loose: boolean, words: Words): Node {
  const children = item.tokens.flatMap((token): Child[] => {
    if (token.type === "checkbox") return inlines([token], words);
    if (token.type === "text" && !loose) return inlines((token as Tokens.Text).tokens ?? [token], words);
    return [block(token, words)];
  });
  return h("li", { class: item.task ? "task" : undefined }, ...children);
}

function table(token: Tokens.Table, words: Words): Node {
  const row = (cells: Tokens.TableCell[]) => h("tr", {}, ...cells.map((cell) => tableCell(cell, words)));
  return h("div", { class: "table", tabindex: "0", role: "group" }, h("table", { dir: "auto" },
    h("thead", {}, row(token.header)),
    h("tbody", {}, ...token.rows.map(row))));
}

function tableCell(cell: Tokens.TableCell, words: Words): Node {
  const attributes = { dir: "auto", "data-align": cell.align ?? undefined };
  const children = inlines(cell.tokens, words);
  return cell.header ? h("th", { ...attributes, scope: "col" }, ...children) : h("td", attributes, ...children);
}

function inlines(tokens: Token[], words: Words): Child[] {
  return tokens.map((token) => inline(token, words));
}

function inline(generic: Token, words: Words): Child {
  const token = generic as MarkedToken | Formula;
  switch (token.type) {
    case "strong": return h("strong", {}, ...inlines(token.tokens, words));
    case "em": return h("em", {}, ...inlines(token.tokens, words));
    case "del": return h("s", {}, ...inlines(token.tokens, words));
    case "codespan": return h("code", {}, token.text);
    case "br": return h("br");
    case "link": return link(token, words);
    case "image": return image(token, words);
    case "checkbox": return h("input", { type: "checkbox", disabled: true, checked: token.checked, "aria-label": token.checked ? words.done : words.open });
    case "html": return /^<br\s*\/?>$/i.test(token.text) ? h("br") : token.text;
    case "formula": return formula(token as Formula);
    case "escape": return token.text;
    case "text": return token.tokens ? h("span", {}, ...inlines(token.tokens, words)) : decode(token.text);
    default: return block(token, words);
  }
}

/** Its source, until it is drawn. */
function formula({ text, raw, display }: Formula): Node {
  return h("span", { class: "formula", "data-formula": text, "data-display": display }, raw.trim());
}

function link(token: Tokens.Link, words: Words): Child {
  const href = safeAddress(token.autolink ? token.href : decode(token.href));
  const children = inlines(token.tokens, words);
  if (!href) return h("span", {}, ...children);
  return h("a", { href, target: "_blank", rel: "noopener noreferrer nofollow", title: token.title ?? undefined }, ...children);
}

/** Never loaded: to fetch it would tell its host who reads what. */
function image(token: Tokens.Image, words: Words): Child {
  const label = `${words.image}: ${decode(token.text) || decode(token.href)}`;
  const href = safeAddress(decode(token.href));
  return href ? h("a", { href, target: "_blank", rel: "noopener noreferrer nofollow", class: "image" }, label) : label;
}
