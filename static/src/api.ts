// The HTTP side: conversations, readiness, and the ticket that lets a browser open a WebSocket.

import { Unauthorized } from "./client.ts";
import type { WireError, WireItem } from "./wire.ts";

export interface Conversation {
  id: string;
  created_at: number;
  metadata: Record<string, string> | null;
  active_response_id?: string | null;
}

export interface Page<T> {
  data: T[];
  has_more: boolean;
  last_id: string | null;
}

export interface Readiness {
  status: string;
  engine?: { state: string; seconds?: number; model?: string; error?: string };
  redis?: { state: string };
}

/** Keeps the key where it dies with the tab. */
export interface Keyring {
  get(): string | null;
  set(key: string): void;
}

export class HttpError extends Error {
  readonly status: number;
  readonly code: string;
  /** Milliseconds for which the server asks to be left alone; 0 where it does not say. */
  readonly retryAfter: number;

  constructor(status: number, code: string, message: string, retryAfter = 0) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

const PAGE = 30;
/** A network that swallows everything never says so. */
const PATIENCE = 30_000;
const PROBE = 5_000;

export class Api {
  readonly #base: URL;
  readonly #keys: Keyring;

  constructor(base: URL, keys: Keyring) {
    this.#base = base;
    this.#keys = keys;
  }

  /** Not ready is an answer, not an error. */
  async ready(): Promise<Readiness> {
    const signal = AbortSignal.timeout(PROBE);
    const response = await fetch(new URL("/readyz", this.#base), { cache: "no-store", signal });
    return (await response.json()) as Readiness;
  }

  async models(): Promise<string[]> {
    return (await this.#call<Page<{ id: string }>>("GET", "/v1/models")).data.map((model) => model.id);
  }

  conversations(after: string | null): Promise<Page<Conversation>> {
    const query = after ? `&after=${encodeURIComponent(after)}` : "";
    return this.#call("GET", `/v1/conversations?limit=${PAGE}${query}`);
  }

  /** Repeated with the same key and title it is the same conversation. */
  start(title: string, key: string): Promise<Conversation> {
    return this.#call("POST", "/v1/conversations", { metadata: { title } }, key);
  }

  /** Starts a turn that is read elsewhere. Repeated, also over a socket, it is the same turn. */
  deliver(conversation: string, model: string, input: string, key: string): Promise<unknown> {
    return this.#call("POST", "/v1/responses", { model, conversation, input, background: true }, key);
  }

  conversation(id: string): Promise<Conversation> {
    return this.#call("GET", `/v1/conversations/${encodeURIComponent(id)}`);
  }

  rename(id: string, title: string): Promise<Conversation> {
    return this.#call("POST", `/v1/conversations/${encodeURIComponent(id)}`, { metadata: { title } });
  }

  remove(id: string): Promise<unknown> {
    return this.#call("DELETE", `/v1/conversations/${encodeURIComponent(id)}`);
  }

  async items(id: string): Promise<WireItem[]> {
    const items: WireItem[] = [];
    let after = "";
    for (;;) {
      const page = await this.#itemPage(id, "asc", after);
      items.push(...page.data);
      if (!page.has_more || !page.last_id) return items;
      after = page.last_id;
    }
  }

  /** Takes the last question and what followed it out of a conversation, so that it can be asked again. */
  async rewind(id: string): Promise<void> {
    const { data } = await this.#itemPage(id, "desc", "");
    const question = data.findIndex((item) => item.role === "user");
    for (const item of data.slice(0, question + 1)) {
      await this.#call("DELETE", `/v1/conversations/${encodeURIComponent(id)}/items/${encodeURIComponent(item.id ?? "")}`);
    }
  }

  /** Without a key the browser's own cookie, or nothing, has to do. */
  async socketAddress(): Promise<string> {
    const url = new URL("/v1/responses", this.#base);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    if (this.#keys.get()) {
      const { ticket } = await this.#call<{ ticket: string }>("POST", "/v1/tickets");
      url.searchParams.set("ticket", ticket);
    }
    return url.href;
  }

  #itemPage(id: string, order: "asc" | "desc", after: string): Promise<Page<WireItem>> {
    const query = new URLSearchParams({ limit: "100", order, ...(after && { after }) });
    return this.#call("GET", `/v1/conversations/${encodeURIComponent(id)}/items?${query}`);
  }

  async #call<T>(method: string, path: string, body?: object, idempotencyKey?: string): Promise<T> {
    const headers: Record<string, string> = {};
    const key = this.#keys.get();
    if (key) headers["authorization"] = `Bearer ${key}`;
    if (body) headers["content-type"] = "application/json";
    if (idempotencyKey) headers["idempotency-key"] = idempotencyKey;
    const response = await fetch(new URL(path, this.#base), {
      method, headers, body: body ? JSON.stringify(body) : null, signal: AbortSignal.timeout(PATIENCE),
    });
    if (response.ok) return (await response.json()) as T;
    if (response.status === 401) throw new Unauthorized();
    throw await errorOf(response);
  }
}

async function errorOf(response: Response): Promise<HttpError> {
  const body = (await response.json().catch(() => ({}))) as { error?: Partial<WireError> };
  const seconds = Number(response.headers.get("retry-after"));
  return new HttpError(
    response.status, body.error?.code ?? `http_${response.status}`, body.error?.message ?? response.statusText,
    seconds > 0 ? seconds * 1000 : 0,
  );
}
