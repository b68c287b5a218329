// Makes a parent's children from some index on equal to the given nodes, changing as little as it can: a selection in text
// that stays, stays.

export function morph(parent: Node, from: number, nodes: readonly Node[]): void {
  nodes.forEach((node, index) => {
    const old = parent.childNodes[from + index];
    if (!old) parent.appendChild(node);
    else if (!patched(old, node)) parent.replaceChild(node, old);
  });
  while (parent.childNodes.length > from + nodes.length) parent.lastChild!.remove();
}

function patched(old: ChildNode, fresh: Node): boolean {
  if (old instanceof Text && fresh instanceof Text) return patchText(old, fresh.data);
  if (!(old instanceof Element && fresh instanceof Element) || old.tagName !== fresh.tagName) return false;
  patchAttributes(old, fresh);
  morph(old, 0, [...fresh.childNodes]);
  return true;
}

function patchText(old: Text, text: string): true {
  if (text.startsWith(old.data)) old.appendData(text.slice(old.data.length));
  else if (text !== old.data) old.data = text;
  return true;
}

function patchAttributes(old: Element, fresh: Element): void {
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
}
