// Formulas as MathML, fetched when the first one is complete.

import temml from "temml";
import css from "temml/dist/Temml-Local.css";

/** Without what would have to be fetched from somewhere: a font and a picture. */
const sheet = new CSSStyleSheet();
sheet.replaceSync(css.replace(/@font-face\s*\{[^}]*\}/g, "").replace(/(?:(?:-webkit-)?mask-image|background-color):[^\n]*/g, ""));

const LIMITS = { trust: false, throwOnError: true, maxExpand: 200, maxSize: [40, 40] as [number, number] };

/** Draws the formula into the element; leaves what cannot be read as it is written. */
export function draw(element: HTMLElement, text: string, display: boolean): void {
  const place = document.createElement("span");
  try {
    temml.render(text, place, { ...LIMITS, displayMode: display });
  } catch {
    return;
  }
  adopt(element.getRootNode());
  element.replaceChildren(...place.childNodes);
}

function adopt(root: Node): void {
  if (root instanceof ShadowRoot && !root.adoptedStyleSheets.includes(sheet)) root.adoptedStyleSheets.push(sheet);
}
