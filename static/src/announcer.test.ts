import assert from "node:assert/strict";
import { test } from "node:test";
import { install } from "./double.ts";

install();
const { Announcer, complete, speakable } = await import("./announcer.ts");

for (const [text, expected] of [
  ["One. Two", "One."], ["One", ""], ["Is it? Yes! And", "Is it? Yes!"], ["“Quoted.” And", "“Quoted.”"], ["3.14 is", ""],
  ["A heading\n\nText", "A heading\n"], ["中文。 更多", "中文。"],
] as const) {
  test(`complete sentences of ${JSON.stringify(text)}`, () => assert.equal(complete(text), expected));
}

for (const [text, expected] of [
  ["**bold** and `code`", "bold and code"], ["# Head\ntext", "Head text"], ["[link](https://a.example)", "link"],
  ["a\n```py\nx = 1\n```\nb", "a Code. b"], ["| a | b |\n|---|---|\n| 1 | 2 |", ", a , b , , 1 , 2 ,"],
] as const) {
  test(`reads ${JSON.stringify(text)} aloud`, () => assert.equal(speakable(text, "Code."), expected));
}

test("speaks whole sentences, with pauses, and every one once", () => {
  const announcer = new Announcer("Code.");
  const root = announcer.root as unknown as { textContent: string };
  Object.defineProperty(root, "textContent", { writable: true, value: "" });
  const said: string[] = [];
  const text = "One is. Two is. Three is. Four";
  for (let end = 1; end <= text.length; end++) {
    announcer.follow(text.slice(0, end), end * 300);
    if (said.at(-1) !== root.textContent && root.textContent) said.push(root.textContent);
  }
  announcer.end(text, "Done");
  assert.deepEqual([...said, root.textContent], ["One is.", "Two is.", "Three is.", "Four Done"]);
});
