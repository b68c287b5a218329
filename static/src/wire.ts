// The shapes on the wire that the page reads. The server may send more; nothing here is trusted to be complete.

export interface WireError {
  code: string;
  message: string;
  headers?: Record<string, string>;
}

export interface WirePart {
  type: string;
  text?: string;
  refusal?: string;
}

export interface WireItem {
  id?: string;
  type: string;
  role?: string;
  status?: string;
  content?: WirePart[] | string;
  summary?: WirePart[];
  name?: string;
  arguments?: string;
}

export interface WireResponse {
  id: string;
  status?: string;
  created_at?: number;
  output?: WireItem[];
  error?: WireError | null;
  incomplete_details?: { reason?: string } | null;
  usage?: { output_tokens?: number } | null;
}

export interface WireEvent {
  type: string;
  sequence_number?: number;
  response?: WireResponse;
  response_id?: string;
  output_index?: number;
  content_index?: number;
  item?: WireItem;
  part?: WirePart;
  delta?: string;
  text?: string;
  refusal?: string;
  arguments?: string;
  status?: number | string;
  error?: WireError;
  position?: number;
  estimated_seconds?: number | null;
  reason?: string;
  last_sequence_number?: number;
}

export interface Create {
  type: "response.create";
  model: string;
  conversation: string;
  input: string;
  idempotency_key: string;
}

/** Events after which nothing more comes for a turn. */
export const ENDS: ReadonlySet<string> = new Set(["response.completed", "response.incomplete", "response.failed"]);

/** Whether an event is part of the log. Ours repeat the last number and use up none. */
export function numbered(event: WireEvent): boolean {
  return event.sequence_number !== undefined && !event.type.startsWith("throughline:");
}
