// Paints code blocks that can no longer change. What cannot be painted stays as it is.

type Painter = typeof import("./highlight.ts");

let painter: Promise<Painter | null> | null = null;

export function paint(root: ParentNode): void {
  const blocks = root.querySelectorAll<HTMLElement>("code[data-language]:not([data-painted])");
  if (!blocks.length) return;
  painter ??= import("./highlight.ts").catch(() => null);
  void painter.then((loaded) => { if (loaded) for (const block of blocks) paintOne(loaded, block); });
}

function paintOne(loaded: Painter, block: HTMLElement): void {
  const nodes = loaded.painted(block.textContent ?? "", block.dataset["language"]!);
  block.dataset["painted"] = "";
  if (nodes) block.replaceChildren(...nodes);
}
