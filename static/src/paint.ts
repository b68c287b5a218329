// Colours for code and shapes for formulas, in blocks that can no longer change. What cannot be painted stays as it is.

const onDemand = {
  code: () => import("./highlight.ts"),
  math: () => import("./math.ts"),
};

export function paint(block: Element): void {
  const codes = fresh(block, "code[data-language]");
  if (codes.length) void onDemand.code().then(({ painted }) => codes.forEach((code) => colour(code, painted)), ignore);
  const formulas = fresh(block, "[data-formula]");
  if (formulas.length) void onDemand.math().then(({ draw }) => formulas.forEach((formula) => shape(formula, draw)), ignore);
}

function fresh(block: Element, selector: string): HTMLElement[] {
  return [...block.querySelectorAll<HTMLElement>(`${selector}:not([data-painted])`)];
}

function colour(code: HTMLElement, painted: typeof import("./highlight.ts").painted): void {
  const nodes = painted(code.textContent ?? "", code.dataset["language"]!);
  code.dataset["painted"] = "";
  if (nodes) code.replaceChildren(...nodes);
}

function shape(formula: HTMLElement, draw: typeof import("./math.ts").draw): void {
  draw(formula, formula.dataset["formula"]!, formula.dataset["display"] !== undefined);
  formula.dataset["painted"] = "";
}

/** Without the module the text stays readable. */
function ignore(): void {}
