// Colours for code, fetched when the first code block is complete. The highlighter's tree of tokens becomes DOM nodes; the
// HTML that it also makes is not used.

import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import c from "highlight.js/lib/languages/c";
import cpp from "highlight.js/lib/languages/cpp";
import csharp from "highlight.js/lib/languages/csharp";
import css from "highlight.js/lib/languages/css";
import diff from "highlight.js/lib/languages/diff";
import dockerfile from "highlight.js/lib/languages/dockerfile";
import go from "highlight.js/lib/languages/go";
import ini from "highlight.js/lib/languages/ini";
import java from "highlight.js/lib/languages/java";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import kotlin from "highlight.js/lib/languages/kotlin";
import lua from "highlight.js/lib/languages/lua";
import makefile from "highlight.js/lib/languages/makefile";
import markdown from "highlight.js/lib/languages/markdown";
import php from "highlight.js/lib/languages/php";
import powershell from "highlight.js/lib/languages/powershell";
import python from "highlight.js/lib/languages/python";
import r from "highlight.js/lib/languages/r";
import ruby from "highlight.js/lib/languages/ruby";
import rust from "highlight.js/lib/languages/rust";
import shell from "highlight.js/lib/languages/shell";
import sql from "highlight.js/lib/languages/sql";
import swift from "highlight.js/lib/languages/swift";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";

const LANGUAGES = {
  bash, c, cpp, csharp, css, diff, dockerfile, go, ini, java, javascript, json, kotlin, lua, makefile, markdown, php, powershell,
  python, r, ruby, rust, shell, sql, swift, typescript, xml, yaml,
};
for (const [name, language] of Object.entries(LANGUAGES)) hljs.registerLanguage(name, language);

/** More than this takes longer than a frame. */
const LONGEST = 30_000;

/** What the highlighter keeps of its work: its types do not tell. */
interface Branch {
  scope?: string;
  children: (Branch | string)[];
}

interface Emitted {
  _emitter: { root: Branch };
}

/** The nodes of a text; null when the language is not known. */
export function painted(text: string, language: string): (Node | string)[] | null {
  if (text.length > LONGEST || !hljs.getLanguage(language)) return null;
  const result = hljs.highlight(text, { language, ignoreIllegals: true }) as unknown as Emitted;
  return result._emitter.root.children.map(grown);
}

function grown(branch: Branch | string): Node | string {
  if (typeof branch === "string") return branch;
  const span = document.createElement("span");
  if (branch.scope) span.className = `t-${branch.scope.split(/[.:]/)[0]}`;
  span.append(...branch.children.map(grown));
  return span;
}
