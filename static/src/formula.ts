// Formulas in Markdown: `$x$` and `\(x\)` in a line, `$$x$$` and `\[x\]` for themselves. TeX allows no blank line inside.

import type { Token, Tokens } from "marked";

export interface Formula extends Tokens.Generic {
  type: "formula";
  text: string;
  display: boolean;
}

const BLOCK = /^ {0,3}(?:\$\$((?:(?!\n\s*\n)[\s\S])+?)\$\$|\\\[((?:(?!\n\s*\n)[\s\S])+?)\\\])[ \t]*(?:\n|$)/;
const IN_LINE = /^(?:\$\$([^\n$]+)\$\$|\\\[((?:(?!\n\s*\n)[\s\S])+?)\\\]|\\\(((?:(?!\n\s*\n)[\s\S])+?)\\\)|\$(?![\s$])((?:\\.|[^\\\n$])*?(?:\\.|[^\\\s$]))\$(?![\d$]))/;
const BLOCK_BEGINS = /\n {0,3}(?:\$\$|\\\[)/;
const BEGINS = /\$|\\[([]/;
const OPENS = /^ {0,3}(?:\$\$|\\\[)/m;

/** What marked's lexer is told about formulas. */
export const formulas = {
  block: [(source: string) => formula(BLOCK.exec(source), true)],
  inline: [(source: string) => formula(IN_LINE.exec(source), false)],
  startBlock: [(source: string) => found(source.search(BLOCK_BEGINS), 1)],
  startInline: [(source: string) => found(source.search(BEGINS), 0)],
  renderers: {},
  childTokens: {},
};

/** The first block that may still become part of a formula whose end is not written; nothing from it on is settled. */
export function unfinished(tokens: readonly Token[]): number | null {
  const blank = tokens.findLastIndex((token) => token.type === "space");
  const first = tokens.findIndex((token, index) => index > blank && token.type === "paragraph" && OPENS.test(token.raw));
  return first < 0 ? null : first;
}

function formula(match: RegExpExecArray | null, block: boolean): Formula | undefined {
  if (!match) return undefined;
  const [raw, dollars, brackets, parentheses, dollar] = match;
  const text = (dollars ?? brackets ?? parentheses ?? dollar ?? "").trim();
  return { type: "formula", raw, text, display: block || dollars !== undefined || brackets !== undefined };
}

function found(index: number, offset: number): number | undefined {
  return index < 0 ? undefined : index + offset;
}
