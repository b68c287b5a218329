// The element: puts the parts together and draws once a frame. Its attributes: `base` (or `src`), the server to talk to;
// `theme`, light or dark where the system is not to decide; `page`, when it is a page of its own. Its looks are the custom
// properties at the head of `style.css`.

import { Announcer } from "./announcer.ts";
import { Api, type Keyring } from "./api.ts";
import { Composer } from "./composer.ts";
import { h, iconButton, setText } from "./dom.ts";
import { KeyForm } from "./key.ts";
import { ListView } from "./list.ts";
import { LogView } from "./log.ts";
import { keyringOf, memoryOf, shelfOf, tabOf } from "./memory.ts";
import { Outbox } from "./outbox.ts";
import { Session } from "./session.ts";
import { describe, health, LineView, type Line } from "./status.ts";
import { sentence, strings, type Strings } from "./strings.ts";
import { present, textOf } from "./transcript.ts";
import { UnsentView } from "./unsent.ts";
import css from "./style.css";

const NARROW = 720;
const SECOND = 1000;
/** How long typing pauses before it is kept. */
const TYPED = 250;
/** Other tabs are told so often that a question is being sent. */
const TOUCHES = 10;
/** Where this script came from is the server to talk to, unless an attribute says otherwise. */
const ORIGIN = new URL(import.meta.url).origin;

const sheet = new CSSStyleSheet();
sheet.replaceSync(css);

interface Parts {
  frame: HTMLElement;
  title: HTMLElement;
  model: HTMLElement;
  menu: HTMLButtonElement;
  /** What cannot be reached while the drawer is open. */
  behind: HTMLElement[];
  empty: HTMLElement;
  bar: LineView;
  status: LineView;
  log: LogView;
  unsent: UnsentView;
  list: ListView;
  composer: Composer;
  key: KeyForm;
  announcer: Announcer;
}

export class ThroughlineChat extends HTMLElement {
  #session!: Session;
  #keys!: Keyring;
  #words!: Strings;
  #parts!: Parts;
  /** Set while the element is in a page; ends everything it started. */
  #life: AbortController | null = null;
  #frame = 0;
  /** Set while something typed is not kept yet. */
  #typing: ReturnType<typeof setTimeout> | undefined;
  #watching = false;
  /** What was announced last, to say every change once. */
  #announced = { running: false, line: "", joining: false, unsent: 0 };

  connectedCallback(): void {
    this.#life = new AbortController();
    this.#words = strings(this.closest("[lang]")?.getAttribute("lang") ?? navigator.language);
    const base = new URL(this.getAttribute("base") ?? this.getAttribute("src") ?? ORIGIN, location.href);
    this.#keys = keyringOf(base);
    const tabs = this.#tabs();
    const outbox = new Outbox(shelfOf(base, this.#keys), () => Date.now());
    this.#session = new Session(new Api(base, this.#keys), memoryOf(base), outbox, tabOf(base), {
      changed: () => this.#changed(),
      started: (id, before) => tabs.postMessage({ id, before }),
      returned: (text) => this.#returned(text),
      leaving: () => this.#keep(),
      arrived: () => { this.#parts.composer.draft = this.#session.outbox.draft(this.#session.current); },
      lost: () => void this.#watch(),
    });
    this.#session.offline = !navigator.onLine;
    this.#build();
    this.#listen(this.#life.signal);
    if (this.hasAttribute("page") && matchMedia("(hover: hover)").matches) this.#parts.composer.focus();
    void this.#session.start();
    this.#watching = false;
    void this.#watch();
  }

  disconnectedCallback(): void {
    this.#keep();
    this.#life?.abort();
    this.#session.courier.stop();
    this.#session.client.release();
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
  }

  #build(): void {
    const root = this.shadowRoot ?? this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [sheet];
    this.#parts = this.#assemble();
    root.replaceChildren(this.#parts.frame, this.#parts.announcer.root);
    const watcher = new ResizeObserver(() => this.#parts.frame.classList.toggle("narrow", this.clientWidth < NARROW));
    watcher.observe(this);
    this.#life!.signal.addEventListener("abort", () => watcher.disconnect());
  }

  #assemble(): Parts {
    const words = this.#words;
    const session = this.#session;
    const status = new LineView("status", () => this.#act(), () => this.#discard());
    const bar = new LineView("bar", () => void session.start());
    const empty = h("div", { class: "empty" }, h("h2", {}, words.emptyTitle), h("p", {}, words.emptyText));
    const unsent = new UnsentView(session, words);
    const log = new LogView(words, empty, status, unsent.root);
    const list = new ListView(session, words, { fresh: () => this.#fresh(), open: (id) => this.#open(id), close: () => this.#drawer(false) });
    const composer = new Composer(words, (text) => this.#send(text), () => session.stop(), () => this.#typed());
    const key = new KeyForm(words, (value) => this.#unlock(value));
    const menu = iconButton("menu", words.openList, () => this.#drawer(true), { class: "icon menu", "aria-expanded": "false" });
    const title = h("h1", { dir: "auto" });
    const model = h("span", { class: "model" });
    const add = iconButton("plus", words.newChat, () => this.#fresh(), { class: "icon add" });
    const main = h("main", {}, h("header", {}, menu, title, model, add), bar.root, log.root, key.root, composer.root);
    const behind = [menu, add, bar.root, log.root, key.root, composer.root];
    const shade = h("div", { class: "shade", click: () => this.#drawer(false) });
    const frame = h("div", { class: "frame" }, list.root, shade, main);
    return { frame, title, model, menu, behind, empty, bar, status, log, unsent, list, composer, key, announcer: new Announcer(words.codeSpoken) };
  }

  #listen(signal: AbortSignal): void {
    window.addEventListener("online", () => this.#network(true), { signal });
    window.addEventListener("offline", () => this.#network(false), { signal });
    window.addEventListener("pagehide", () => this.#keep(), { signal });
    window.addEventListener("storage", (event) => this.#stored(event), { signal });
    document.addEventListener("visibilitychange", () => this.#seen(), { signal });
    this.#parts.frame.addEventListener("keydown", (event) => event.key === "Escape" && this.#drawer(false), { signal });
    this.#parts.log.root.addEventListener("said", (event) => this.#parts.announcer.say((event as CustomEvent<string>).detail), { signal });
    let ticks = 0;
    const clock = setInterval(() => {
      if (++ticks % TOUCHES === 0) this.#session.touch();
      if (this.#session.running || this.#session.courier.until !== null) this.#changed();
    }, SECOND);
    signal.addEventListener("abort", () => clearInterval(clock));
  }

  /** Other tabs of this browser hear of a turn that started here; all others see it when they look. */
  #tabs(): BroadcastChannel {
    const channel = new BroadcastChannel("throughline");
    channel.onmessage = ({ data }) => {
      void this.#session.refreshList().catch(() => {});
      const { current, running, opening } = this.#session;
      if (data.before && data.before === current) void this.#session.open(data.id);
      // It may be over already: then there is nothing to follow, only something to fetch.
      if (data.id === current && !running && !opening) void this.#session.reload();
    };
    this.#life!.signal.addEventListener("abort", () => channel.close());
    return channel;
  }

  /** Looks at the node until it is ready. What waits is sent as soon as it is back. */
  async #watch(): Promise<void> {
    const { signal } = this.#life!;
    if (this.#watching || signal.aborted) return;
    this.#watching = true;
    const session = this.#session;
    let away = false;
    while (!signal.aborted && !(await session.look())) {
      away = true;
      await new Promise((resolve) => setTimeout(resolve, SECOND));
    }
    this.#watching = false;
    if (signal.aborted) return;
    if (away) this.#back();
    if (!session.begun && !session.locked) await session.start();
  }

  #back(): void {
    this.#session.courier.nudge();
    if (this.#session.client.link.state === "waiting") this.#session.client.nudge();
    if (this.#session.trouble && this.#session.begun) void this.#session.start();
  }

  #network(online: boolean): void {
    this.#session.offline = !online;
    if (online) this.#session.client.distrust();
    if (online) this.#session.courier.nudge();
    void this.#watch();
    this.#changed();
  }

  #typed(): void {
    this.#typing ??= setTimeout(() => this.#keep(), TYPED);
  }

  /** What was typed is kept where it was typed. */
  #keep(): void {
    if (this.#typing === undefined) return;
    clearTimeout(this.#typing);
    this.#typing = undefined;
    this.#session.outbox.write(this.#session.current, this.#parts.composer.draft);
  }

  /** Another tab wrote, sent or discarded something. A draft that nobody touched here follows. */
  #stored(event: StorageEvent): void {
    const name = event.key ?? "";
    if (!name.startsWith("throughline:")) return;
    if (name.includes(":question:")) this.#session.noticed(event.newValue === null);
    const { composer } = this.#parts;
    const before = textOfDraft(event.oldValue);
    const kept = this.#session.outbox.draft(this.#session.current);
    if (name.endsWith(`:draft:${this.#session.current ?? "new"}`) && composer.draft === before) composer.draft = kept;
  }

  #discard(): void {
    this.#session.discard();
    this.#parts.composer.focus();
  }

  #seen(): void {
    if (document.visibilityState !== "visible") return this.#keep();
    this.#session.courier.nudge();
    this.#session.client.nudge();
    void this.#session.glance();
    this.#changed();
  }

  #send(text: string): void {
    clearTimeout(this.#typing);
    this.#typing = undefined;
    this.#parts.log.follower.toEnd();
    void this.#session.send(text);
  }

  #returned(text: string): boolean {
    const { composer, announcer } = this.#parts;
    const fits = !composer.draft;
    if (fits) composer.draft = text;
    if (fits) this.#session.outbox.write(this.#session.current, text);
    announcer.say(sentence(this.#words, { code: "conversation_locked", message: "" }));
    return fits;
  }

  /** The button in the status line. */
  #act(): void {
    if (this.#session.running) this.#session.client.nudge();
    else void this.#session.again();
    this.#parts.composer.focus();
  }

  #fresh(): void {
    this.#session.fresh();
    this.#drawer(false);
    this.#parts.composer.focus();
  }

  #open(id: string): void {
    this.#parts.log.follower.toEnd();
    void this.#session.open(id);
    this.#drawer(false);
    this.#parts.composer.focus();
  }

  #unlock(key: string): void {
    this.#carry(key);
    void this.#session.unlocked();
  }

  /** What waits here was written by whoever has the new key too: keys are changed, and people stay. */
  #carry(key: string): void {
    const { outbox, tab, current } = this.#session;
    const before = this.#keys.get() ?? "";
    const mine = outbox.questions().filter(({ owner }) => owner === tab);
    const swap = (next: string) => {
      this.#keys.set(next);
      outbox.changed();
    };
    swap(key);
    for (const question of mine) outbox.put(question);
    outbox.write(current, this.#parts.composer.draft);
    if (before === key) return;
    const kept = mine.filter((question) => outbox.isKept(question.key));
    swap(before);
    for (const question of kept) outbox.remove(question.key);
    swap(key);
  }

  #drawer(open: boolean): void {
    const { frame, menu, list } = this.#parts;
    if (frame.classList.contains("drawn") === open) return;
    frame.classList.toggle("drawn", open);
    menu.setAttribute("aria-expanded", String(open));
    for (const part of this.#parts.behind) part.inert = open;
    if (open) list.focus();
    else menu.focus();
  }

  #changed(): void {
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #draw(): void {
    this.#frame = 0;
    const session = this.#session;
    const parts = this.#parts;
    const line = describe(session, this.#words, Date.now());
    parts.list.show();
    parts.composer.show(session.running);
    parts.status.show(line, this.#label(line), this.#words.discard);
    const unsent = session.unsent;
    parts.unsent.show(unsent, Date.now());
    parts.empty.hidden = session.opening || session.transcript.history.length > 0 || session.transcript.answer !== null || unsent.length > 0;
    parts.bar.show(this.#bar(), session.trouble && !session.locked ? this.#words.tryAgain : "");
    parts.log.show(session.transcript);
    parts.key.show(session.locked, session.locked && this.#keys.get() ? this.#words.keyWrong : "");
    this.#drawHead();
    this.#announce(line);
  }

  #drawHead(): void {
    const { session, parts } = { session: this.#session, parts: this.#parts };
    const title = session.locked ? this.#words.product : this.#title();
    setText(parts.title, title);
    if (this.hasAttribute("page") && document.title !== title) document.title = title;
    setText(parts.model, session.model ?? "");
    parts.frame.classList.toggle("locked", session.locked);
  }

  #title(): string {
    const { conversations, current, outbox } = this.#session;
    const open = conversations.find(({ id }) => id === current);
    if (!open && current) return outbox.at(current)[0]?.title || this.#words.untitled;
    return open?.metadata?.["title"] || (current ? this.#words.untitled : this.#words.newChat);
  }

  #label(line: Line | null): string {
    if (!line?.action) return "";
    return line.action === "nudge" && line.tone === "busy" ? this.#words.tryNow : this.#words.tryAgain;
  }

  #bar(): Line | null {
    const session = this.#session;
    const well = health(session.readiness, session.offline, this.#words);
    if (well || session.locked) return session.locked ? null : well;
    if (session.trouble) return { text: sentence(this.#words, session.trouble), detail: "", tone: "error", action: null };
    return session.opening ? { text: this.#words.opening, detail: "", tone: "busy", action: null } : null;
  }

  #announce(line: Line | null): void {
    const { announcer } = this.#parts;
    const running = this.#session.running;
    const before = this.#announced;
    const text = this.#answerText();
    const joining = running && (before.running ? before.joining : this.#session.followed);
    const unsent = this.#session.unsent.length;
    this.#announced = { running, line: line?.text ?? "", joining: joining && !this.#session.caughtUp, unsent };
    if (unsent > before.unsent && !running) return announcer.say(this.#words.notSent);
    if (running && !before.running) announcer.begin();
    if (!running && before.running && this.#session.transcript.answer) return announcer.end(text, this.#verdict(line));
    if (joining) return announcer.skip(text);
    if (running && line && !text && line.text !== before.line) return announcer.say(line.text);
    if (running) announcer.follow(text, performance.now());
  }

  #verdict(line: Line | null): string {
    return line ? line.text : this.#words.answerDone;
  }

  #answerText(): string {
    const items = this.#session.transcript.answer?.items ?? [];
    return present(items).filter((item) => item.type === "message").map(textOf).join("\n\n");
  }
}

/** What another tab had kept, as the event tells it. */
function textOfDraft(value: string | null): string {
  try {
    return (JSON.parse(value ?? "null") as { text?: string } | null)?.text ?? "";
  } catch {
    return "";
  }
}
