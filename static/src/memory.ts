// What the browser keeps: ids, never words. The tab's own memory comes first, so that two tabs may show two conversations;
// a new tab shows what was open last. A browser that refuses storage only forgets.

import type { Keyring } from "./api.ts";
import type { Memory } from "./session.ts";

export function memoryOf(base: URL): Memory {
  const name = `throughline:${base.host}:conversation`;
  return {
    recall: () => read("sessionStorage", name) ?? read("localStorage", name),
    remember: (id) => {
      write("sessionStorage", name, id);
      write("localStorage", name, id);
    },
  };
}

export function keyringOf(base: URL): Keyring {
  const name = `throughline:${base.host}:key`;
  let key = read("sessionStorage", name);
  return {
    get: () => key,
    set: (fresh) => {
      key = fresh;
      write("sessionStorage", name, fresh);
    },
  };
}

type Place = "sessionStorage" | "localStorage";

function read(place: Place, name: string): string | null {
  try {
    return window[place].getItem(name);
  } catch {
    return null;
  }
}

function write(place: Place, name: string, value: string | null): void {
  try {
    if (value === null) window[place].removeItem(name);
    else window[place].setItem(name, value);
  } catch {
    // Storage is a convenience; the page works without.
  }
}
