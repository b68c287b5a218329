import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeElement, drawn, install } from "./double.ts";
import { Markdown, safeAddress } from "./markdown.ts";

install();

const WORDS = { copy: "Copy", code: "code", image: "Image", done: "Done", open: "Open" };

function fresh(): { root: FakeElement; markdown: Markdown } {
  const root = new FakeElement("div");
  return { root, markdown: new Markdown(root as unknown as HTMLElement, WORDS) };
}

function whole(text: string): FakeElement {
  const { root, markdown } = fresh();
  markdown.show(text, true);
  return root;
}

const inside = (text: string) => drawn(whole(text)).slice("<div>".length, -"</>".length);

const SAMPLE = `Intro with **bold**, *emphasis*, ~~gone~~ and \`code\`.
Second line\\
broken.

# One
## Two

| a | b |
|---|--:|
| 1 | **2** |
| 3 |

- loose

- list
  with more

  and a paragraph
- [x] done
- [ ] open
  1. deep
  2. deeper

3. three
4. four
text goes on

> quote
> - list in it

\`\`\`python
def f():

    return "#"
\`\`\`
~~~
tilde
~~~

    indented

***

Setext
======
para
#not a heading
<b>html</b> and <br> and &amp; &lt;x&gt; &#65; &nope;

<div onclick="x()">
block
</div>

See [ref] and [text](https://a.example "t") and https://auto.example/x?y=1.

[ref]: https://ref.example
The end ![img](https://i.example/x.png)`;

const FORMULAS = `Let $x$ cost $5 and $6, or $a$5. Then \\(a_1\\) and $$q$$:

$$
a
+ b
= c

$$

$$
a
+ b
===
# c
$$

before
\\[
z
- w
> v
\\]
text \\[y\\] goes \\$on\\$ $and \`$\` on

- in a list $$x$$
- $$
  y
  $$

$$ never closed

The end of $it`;

for (const [name, text] of [["prose", SAMPLE], ["formulas", FORMULAS]] as const) {
  test(`${name} written in pieces of any size is the same as written at once`, () => {
    const expected = drawn(whole(text));
    for (let size = 1; size <= 40; size++) {
      const { root, markdown } = fresh();
      for (let end = size; end < text.length; end += size) markdown.show(text.slice(0, end), false);
      markdown.show(text, true);
      assert.equal(drawn(root), expected, `pieces of ${size}`);
    }
  });

  test(`while ${name} is written, nothing differs from reading all of it again`, () => {
    const sample = text.split("[ref]")[0]!;
    const { root, markdown } = fresh();
    for (let end = 1; end <= sample.length; end++) {
      markdown.show(sample.slice(0, end), false);
      assert.equal(drawn(root), drawn(whole(sample.slice(0, end))), JSON.stringify(sample.slice(Math.max(0, end - 20), end)));
    }
  });
}

test("blocks that are settled keep their nodes", () => {
  const { root, markdown } = fresh();
  markdown.show("one\n\ntwo\n\nthr", false);
  const [first, second, third] = root.childNodes;
  markdown.show("one\n\ntwo\n\nthree\nfour\n\nfive", true);
  assert.deepEqual([root.childNodes[0] === first, root.childNodes[1] === second, root.childNodes[2] === third], [true, true, true]);
});

test("text that does not go on from what was shown replaces it", () => {
  const { root, markdown } = fresh();
  markdown.show("one\n\ntwo\n\nthree\n", false);
  markdown.show("other\n\ntext", true);
  assert.equal(drawn(root), drawn(whole("other\n\ntext")));
});

test("line ends of other systems are line ends", () => assert.equal(inside("a\r\n\r\nb\rc"), inside("a\n\nb\nc")));

for (const [text, expected] of [
  ["**b** *e* ~~s~~ `c`", "<p><strong>b</> <em>e</> <s>s</> <code>c</></>"],
  ["## H", "<h3 data-depth=2>H</>"], ["###### H", "<h6 data-depth=6>H</>"],
  ["[t](https://a.example/)", "<p><a href=https://a.example/>t</></>"],
  ["[t](mailto:a@b.example)", "<p><a href=mailto:a@b.example>t</></>"],
  ["![alt](https://a.example/i.png)", "<p><a class=image href=https://a.example/i.png>Image: alt</></>"],
  ["a<br>b", "<p>a<br></>b</>"],
  ["&lt;b&gt; &#x41; &unknown; &#0;", "<p><b> A &unknown; \ufffd</>"],
  ["`&lt;`", "<p><code>&lt;</></>"],
  ["$x$", "<p><span class=formula data-formula=x>$x$</></>"],
  ["\\(x\\)", "<p><span class=formula data-formula=x>\\(x\\)</></>"],
  ["$$\nx\n$$", "<p><span class=formula data-display= data-formula=x>$$\nx\n$$</></>"],
  ["$5 and $6", "<p>$5 and $6</>"], ["`$x$`", "<p><code>$x$</></>"], ["\\$x\\$", "<p>$x$</>"],
  ["2. a\n3. b", "<ol start=2><li>a</><li>b</></>"],
  ["- [x] a", "<ul><li class=task><input checked= disabled= type=checkbox></>a</></>"],
  ["|a|b|\n|:-:|-|\n|1|2|", "<div class=table role=group><table><thead><tr><th data-align=center scope=col>a</><th scope=col>b</></></><tbody><tr><td data-align=center>1</><td>2</></></></></>"],
] as const) {
  test(`shows ${JSON.stringify(text)}`, () => assert.equal(inside(text), expected));
}

const HOSTILE = [
  "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg onload=alert(1)>", "<iframe src=javascript:alert(1)></iframe>",
  "[x](javascript:alert(1))", "[x](JaVaScRiPt:alert(1))", "[x](java\nscript:alert(1))", "[x](<java\tscript:alert(1)>)",
  "[x](javascript&colon;alert(1))", "[x](javascript&#58;alert(1))", "[x](&#x6A;avascript:alert(1))", "[x](\u0001javascript:alert(1))",
  "[x](vbscript:x)", "[x](data:text/html,<script>alert(1)</script>)", "[x](file:///etc/passwd)", "[x](blob:https://a/b)",
  "<javascript:alert(1)>", "[x]: javascript:alert(1)\n\n[x]", "![x](javascript:alert(1))", "![x](https://evil.example/pixel.gif)",
  "![x](data:image/svg+xml,<svg onload=alert(1)>)", "<a href=\"javascript:alert(1)\">x</a>", "<style>@import 'https://evil.example'</style>",
  "<base href=https://evil.example>", "<meta http-equiv=refresh content=0;url=https://evil.example>", "[x](//evil.example)", "[x](/v1/x)",
  "```\" onmouseover=alert(1)\nx\n```", "| <img src=x onerror=alert(1)> |\n|---|\n| [x](javascript:1) |", "<!--><img src=x onerror=alert(1)>-->",
  "[x](https://a.example \"\\\" onmouseover=alert(1)\")", "<form action=javascript:alert(1)><button>x</button></form>",
];
const TAGS = new Set("div p h3 h4 h5 h6 ul ol li blockquote hr br figure figcaption span button pre code table thead tbody tr th td strong em s a input".split(" "));
const ATTRIBUTES = new Set("dir class href target rel title start tabindex aria-label role type disabled checked data-act data-language data-align data-depth scope".split(" "));

for (const text of HOSTILE) {
  test(`harmless: ${JSON.stringify(text)}`, () => {
    for (const element of whole(text).all()) {
      assert.ok(TAGS.has(element.tagName), element.tagName);
      for (const { name } of element.attributes) assert.ok(ATTRIBUTES.has(name), name);
      const href = element.getAttribute("href");
      if (href) assert.match(href, /^(https?:|mailto:)/);
    }
  });
}

test("addresses on the list", () => {
  assert.deepEqual(["https://a.example/b", "http://a.example", "mailto:x@y.example", "ftp://a.example", "x", ""].map(safeAddress),
    ["https://a.example/b", "http://a.example/", "mailto:x@y.example", null, null, null]);
});

test("a long answer costs a little for each piece", () => {
  const text = "A paragraph of some length with **words** in it.\n\n".repeat(500);
  const { markdown } = fresh();
  const start = performance.now();
  for (let end = 16; end < text.length; end += 16) markdown.show(text.slice(0, end), false);
  assert.ok(performance.now() - start < 1500);
});
