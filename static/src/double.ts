// Just enough of a DOM for the unit tests of what makes nodes.

class FakeNode {
  childNodes: FakeNode[] = [];
  parent: FakeNode | null = null;

  get lastChild(): FakeNode | undefined { return this.childNodes.at(-1); }
  get textContent(): string { return this.childNodes.map((child) => child.textContent).join(""); }

  appendChild(child: FakeNode): FakeNode {
    child.remove();
    child.parent = this;
    this.childNodes.push(child);
    return child;
  }

  replaceChild(fresh: FakeNode, old: FakeNode): void {
    fresh.remove();
    this.childNodes[this.childNodes.indexOf(old)] = fresh;
    fresh.parent = this;
    old.parent = null;
  }

  append(...children: (FakeNode | string)[]): void {
    for (const child of children) this.appendChild(typeof child === "string" ? new FakeText(child) : child);
  }

  remove(): void {
    if (this.parent) this.parent.childNodes.splice(this.parent.childNodes.indexOf(this), 1);
    this.parent = null;
  }
}

class FakeText extends FakeNode {
  data: string;

  constructor(data: string) {
    super();
    this.data = data;
  }

  override get textContent(): string { return this.data; }
  appendData(more: string): void { this.data += more; }
}

export class FakeElement extends FakeNode {
  readonly tagName: string;
  readonly #attributes = new Map<string, string>();

  constructor(tag: string) {
    super();
    this.tagName = tag;
  }

  get attributes() { return [...this.#attributes].map(([name, value]) => ({ name, value })); }
  get children() { return this.childNodes.filter((child) => child instanceof FakeElement); }
  setAttribute(name: string, value: string): void { this.#attributes.set(name, value); }
  getAttribute(name: string): string | null { return this.#attributes.get(name) ?? null; }
  hasAttribute(name: string): boolean { return this.#attributes.has(name); }
  removeAttribute(name: string): void { this.#attributes.delete(name); }

  all(): FakeElement[] {
    return [this, ...this.childNodes.flatMap((child) => (child instanceof FakeElement ? child.all() : []))];
  }
}

/** The tree in one line, texts that touch joined. */
export function drawn(node: FakeNode): string {
  if (!(node instanceof FakeElement)) return (node as FakeText).data;
  const attributes = node.attributes.filter(({ name }) => !["dir", "tabindex", "rel", "target", "aria-label"].includes(name));
  const head = [node.tagName, ...attributes.map(({ name, value }) => `${name}=${value}`).sort()].join(" ");
  return `<${head}>${node.childNodes.map(drawn).join("")}</>`;
}

export function install(): void {
  Object.assign(globalThis, { Element: FakeElement, Text: FakeText, document: { createElement: (tag: string) => new FakeElement(tag) } });
}
