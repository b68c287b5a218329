// How long a turn has been running and how fast it is being written.

/** English prose has about four characters to a token, and a piece has at least one token; the end of the turn has the
 * exact count. */
const CHARACTERS_PER_TOKEN = 4;
const WINDOW = 4_000;
/** Less than this says nothing about a speed. */
const SHORTEST = 800;
/** After so long without a piece nothing is being written, and nothing has a speed. */
const QUIET = 2_000;

export class Meter {
  #started = 0;
  #marks: { at: number; characters: number }[] = [];
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  start(): void {
    this.#started = this.#now();
    this.#marks = [];
  }

  /** The text stops: the next piece is not measured against the last one. */
  pause(): void {
    this.#marks = [];
  }

  /** The turn had begun before this page looked. Clocks differ: what cannot be is ignored. */
  backdate(seconds: number): void {
    if (seconds > 0 && seconds < 24 * 3600) this.#started = this.#now() - seconds * 1000;
  }

  wrote(characters: number): void {
    const at = this.#now();
    if (this.#isQuiet(at)) this.#marks = [];
    this.#marks.push({ at, characters });
    while (this.#marks.length && this.#marks[0]!.at < at - WINDOW) this.#marks.shift();
  }

  get seconds(): number {
    return Math.floor((this.#now() - this.#started) / 1000);
  }

  /** Tokens per second over the last few seconds; null while unknown. */
  get speed(): number | null {
    const now = this.#now();
    const first = this.#marks[0];
    const span = first ? now - first.at : 0;
    if (!first || span < SHORTEST || this.#isQuiet(now)) return null;
    const characters = this.#marks.reduce((sum, mark) => sum + mark.characters, 0);
    return Math.max(this.#marks.length, characters / CHARACTERS_PER_TOKEN) / (span / 1000);
  }

  #isQuiet(now: number): boolean {
    const last = this.#marks.at(-1);
    return last !== undefined && now - last.at > QUIET;
  }
}
