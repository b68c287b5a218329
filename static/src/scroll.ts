// Keeps the end of a growing text in sight, unless the reader went somewhere else.

const NEAR = 24;

export class Follower {
  following = true;
  readonly #scroller: HTMLElement;
  readonly #changed: () => void;
  /** Where the page was at the last look. */
  #top = 0;
  #height = 0;

  constructor(scroller: HTMLElement, changed: () => void) {
    this.#scroller = scroller;
    this.#changed = changed;
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    const watcher = new ResizeObserver(() => this.settle());
    for (const element of [scroller, ...scroller.children]) watcher.observe(element);
  }

  /** After the content grew. */
  settle(): void {
    if (!this.following) return;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#top = this.#scroller.scrollTop;
    this.#height = this.#scroller.scrollHeight;
  }

  toEnd(): void {
    this.following = true;
    this.settle();
    this.#changed();
  }

  /** Any way up that is not a shrinking text is the reader's, however short: a wheel turns in small steps. */
  #scrolled(): void {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    if (scrollTop < this.#top && scrollHeight >= this.#height) this.following = false;
    else if (scrollHeight - scrollTop - clientHeight < NEAR) this.following = true;
    this.#top = scrollTop;
    this.#height = scrollHeight;
    this.#changed();
  }
}
