// Every word the page says. Another language is another table; what it lacks is said in English.

import type { WireError } from "./wire.ts";

const ENGLISH = {
  product: "Throughline",
  newChat: "New chat",
  chats: "Chats",
  openList: "Show chats",
  closeList: "Hide chats",
  showMore: "Show more",
  noChats: "No chats yet",
  untitled: "Untitled",
  rename: "Rename",
  remove: "Delete",
  removeQuestion: (title: string) => `Delete “${title}”?`,
  removeDetail: "The chat and its answers are deleted on the server. This cannot be undone.",
  cancel: "Cancel",
  titleLabel: "Title",
  emptyTitle: "What would you like to know?",
  emptyText: "Answers are kept on the server as they are written. Reload, close the lid, come back: they go on where they were.",
  placeholder: "Write a message",
  messageLabel: "Message",
  send: "Send",
  stop: "Stop",
  hint: "Enter sends, Shift+Enter starts a new line",
  you: "You",
  assistant: "Assistant",
  conversation: "Conversation",
  model: "Model",
  copy: "Copy",
  copied: "Copied",
  copyFailed: "Select and copy by hand",
  code: "code",
  image: "Image",
  done: "Done",
  open: "Not done",
  reasoning: "Thinking",
  called: (name: string) => `Called ${name}`,
  latest: "Latest",
  connecting: "Connecting",
  sending: "Sending",
  reconnecting: "Reconnecting",
  lost: "Connection lost",
  busy: "The server is busy",
  modelLoading: "The model is still loading",
  again: (seconds: number) => `trying again in ${seconds} s`,
  tryNow: "Try now",
  tryAgain: "Try again",
  queued: "Queued",
  position: (position: number) => `Queued · position ${position}`,
  about: (seconds: number) => `about ${seconds} s`,
  reading: "Reading",
  thinking: "Thinking",
  writing: "Writing",
  takeover: "Another node is taking over",
  log: "Waiting for the answer log",
  stopping: "Stopping",
  seconds: (seconds: number) => (seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`),
  speed: (tokens: number) => `≈ ${tokens} tokens/s`,
  stopped: "Stopped",
  cutOff: "Cut off: the answer reached its length limit",
  incomplete: "The answer ended early",
  unanswered: "This was not answered",
  loadingModel: (model: string) => (model ? `Loading ${model}` : "Loading the model"),
  loadFailed: "The model could not be loaded",
  storeDown: "The server cannot reach its store",
  engineStopped: "The model has been stopped",
  unreachable: "The server cannot be reached",
  retrying: "trying again every second",
  opening: "Opening the conversation",
  keyTitle: "This server asks for a key",
  keyText: "It stays in this tab and is forgotten when you close it.",
  keyLabel: "API key",
  keyWrong: "The server did not accept this key.",
  unlock: "Continue",
  answerDone: "Answer complete",
  codeSpoken: "Code block.",
  /** By error code; the server's own message where the code is not listed. */
  errors: {
    unreachable: "The server cannot be reached.",
    conversation_locked: "Another answer is being written in this conversation. Wait for its end, then try again.",
    context_length_exceeded: "The conversation is longer than this model can read. Start a new chat.",
    invalid_api_key: "The server did not accept the key.",
    model_not_found: "The server does not have this model.",
    server_overloaded: "The server is busy.",
    server_error: "The server failed while it wrote this answer.",
    websocket_stream_limit_reached: "Too many answers at once on this connection.",
  } as Record<string, string>,
  unknownError: "Something went wrong.",
  closed: {
    1000: "The server closed the connection.",
    1008: "The server refused this connection.",
    1009: "The message is longer than the server accepts.",
  } as Record<number, string>,
};

export type Strings = typeof ENGLISH;

const TABLES: Record<string, Partial<Strings>> = { en: ENGLISH };

/** `de-AT` finds `de`; a language without a table is English. */
export function strings(lang: string): Strings {
  return { ...ENGLISH, ...TABLES[lang.toLowerCase().split("-")[0]!] };
}

export function sentence(table: Strings, error: WireError): string {
  return table.errors[error.code] ?? (error.message || table.unknownError);
}
