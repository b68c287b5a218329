// What a page can do where the browser offers less: on a plain `http://` address, which is how many reach their own server.

/** `crypto.randomUUID` exists only on secure pages. */
export function uuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** Whether the text is in the clipboard now. */
export async function copy(text: string, place: Element): Promise<boolean> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false);
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "unseen";
  place.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}
