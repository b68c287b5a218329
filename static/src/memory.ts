// What the browser keeps: ids, and the words that the server does not have yet. The tab's own memory comes first, so that
// two tabs may show two conversations; a new tab shows what was open last. A browser that refuses storage only forgets.

import type { Keyring } from "./api.ts";
import type { Shelf } from "./outbox.ts";
import { uuid } from "./plain.ts";
import type { Memory } from "./page.ts";

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

/** Where unsent words are kept, apart for each key: what one person wrote is not sent in another one's name. */
export function shelfOf(base: URL, keys: Keyring): Shelf {
  const prefix = () => `throughline:${base.host}:${digest(keys.get() ?? "")}:`;
  return {
    names: () => listed().filter((name) => name.startsWith(prefix())).map((name) => name.slice(prefix().length)),
    get: (name) => read("localStorage", prefix() + name),
    put: (name, value) => write("localStorage", prefix() + name, value),
    drop: (name) => void write("localStorage", prefix() + name, null),
  };
}

/** This tab's name, which a reload leaves as it is. */
export function tabOf(base: URL): string {
  const name = `throughline:${base.host}:tab`;
  const known = read("sessionStorage", name) ?? uuid();
  write("sessionStorage", name, known);
  return known;
}

/** FNV-1a: tells keys apart, and says nothing about them. */
function digest(text: string): string {
  let hash = 0x811c9dc5;
  for (const character of text) hash = Math.imul(hash ^ character.codePointAt(0)!, 0x01000193);
  return text ? (hash >>> 0).toString(16) : "";
}

function listed(): string[] {
  try {
    return Object.keys(window.localStorage);
  } catch {
    return [];
  }
}

type Place = "sessionStorage" | "localStorage";

function read(place: Place, name: string): string | null {
  try {
    return window[place].getItem(name);
  } catch {
    return null;
  }
}

/** False where the browser refuses. */
function write(place: Place, name: string, value: string | null): boolean {
  try {
    if (value === null) window[place].removeItem(name);
    else window[place].setItem(name, value);
    return true;
  } catch {
    return false;
  }
}
