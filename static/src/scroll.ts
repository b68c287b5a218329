// Keeps the end of a growing text in sight, unless the reader went somewhere else.

const NEAR = 24;

export class Follower {
  following = true;
  readonly #scroller: HTMLElement;
  readonly #changed: () => void;
  #top = 0;

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
  }

  toEnd(): void {
    this.following = true;
    this.settle();
    this.#changed();
  }

  #scrolled(): void {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    if (scrollHeight - scrollTop - clientHeight < NEAR) this.following = true;
    else if (scrollTop < this.#top) this.following = false;
    this.#top = scrollTop;
    this.#changed();
  }
}
