import assert from "node:assert/strict";
import { test } from "node:test";
import { LONGEST_DRAFT, MOST_DRAFTS, Outbox, isLocal, localPlace, type Question, type Shelf } from "./outbox.ts";

/** Storage that tabs share, with a lever: how many characters it takes. */
class FakeShelf implements Shelf {
  room = Infinity;
  readonly kept = new Map<string, string>();
  names(): string[] { return [...this.kept.keys()]; }
  get(name: string): string | null { return this.kept.get(name) ?? null; }
  drop(name: string): void { this.kept.delete(name); }
  put(name: string, value: string): boolean {
    const others = [...this.kept].filter(([other]) => other !== name).reduce((sum, [, text]) => sum + text.length, 0);
    if (others + value.length > this.room) return false;
    this.kept.set(name, value);
    return true;
  }
}

const clock = { now: 1_000_000 };

function opened(shelf = new FakeShelf()) {
  return { shelf, outbox: new Outbox(shelf, () => clock.now) };
}

export function question(key: string, more: Partial<Question> = {}): Question {
  return {
    key, place: localPlace(key), title: key, text: `${key}?`, model: null, at: clock.now, touched: clock.now, owner: "tab",
    held: false, error: null, ...more,
  };
}

test("what was put is there for the next page, the oldest first", () => {
  const { shelf, outbox } = opened();
  outbox.put(question("b", { at: 2 }));
  outbox.put(question("a", { at: 1 }));
  assert.deepEqual(opened(shelf).outbox.questions().map(({ key }) => key), ["a", "b"]);
});

test("a question that another tab removed is not brought back by a change", () => {
  const { shelf, outbox } = opened();
  outbox.put(question("a"));
  opened(shelf).outbox.remove("a");
  assert.equal(outbox.change("a", { held: true }), null);
  assert.equal(outbox.find("a"), null);
});

test("a question that does not fit is there as long as the page", () => {
  const { shelf, outbox } = opened();
  shelf.room = 10;
  outbox.put(question("a"));
  assert.equal(outbox.find("a")?.text, "a?");
  assert.equal(outbox.isKept("a"), false);
  assert.equal(opened(shelf).outbox.find("a"), null);
  outbox.remove("a");
  assert.deepEqual(outbox.questions(), []);
});

test("drafts give way to a question", () => {
  const { shelf, outbox } = opened();
  outbox.write("conv_1", "x".repeat(500));
  shelf.room = 600;
  outbox.put(question("a"));
  assert.equal(outbox.isKept("a"), true);
  assert.equal(outbox.draft("conv_1"), "");
});

test("a draft never takes a question's place", () => {
  const { shelf, outbox } = opened();
  outbox.put(question("a"));
  shelf.room = 300;
  outbox.write(null, "x".repeat(500));
  assert.equal(outbox.isKept("a"), true);
  assert.equal(outbox.draft(null).length, 500);
});

test("the oldest drafts are forgotten", () => {
  const { outbox } = opened();
  for (let n = 0; n <= MOST_DRAFTS; n += 1) {
    clock.now += 1;
    outbox.write(`conv_${n}`, "x");
  }
  assert.equal(outbox.draft("conv_0"), "");
  assert.equal(outbox.draft("conv_1"), "x");
  clock.now += 31 * 24 * 3_600_000;
  outbox.write(null, "now");
  assert.equal(outbox.draft(`conv_${MOST_DRAFTS}`), "");
});

test("a very long draft is not written at every pause", () => {
  const { shelf, outbox } = opened();
  const long = "x".repeat(LONGEST_DRAFT + 1);
  outbox.write("conv_1", long);
  assert.equal(outbox.draft("conv_1"), long);
  assert.deepEqual(shelf.names(), []);
  outbox.write("conv_1", "");
  assert.equal(outbox.draft("conv_1"), "");
});

test("a conversation that gets its id takes along what was written for it", () => {
  const { outbox } = opened();
  outbox.put(question("a"));
  outbox.put(question("b", { place: localPlace("a"), at: clock.now + 1 }));
  outbox.write(localPlace("a"), "more");
  outbox.move(localPlace("a"), "conv_1");
  assert.deepEqual(outbox.at("conv_1").map(({ key }) => key), ["a", "b"]);
  assert.deepEqual([outbox.draft("conv_1"), outbox.draft(localPlace("a"))], ["more", ""]);
});

test("a question whose conversation is gone waits at the head of a new one", () => {
  const { outbox } = opened();
  outbox.put(question("a", { place: "conv_1" }));
  const moved = outbox.rehouse(outbox.find("a")!, "fresh", { code: "not_found", message: "" });
  assert.ok(isLocal(moved.place));
  assert.deepEqual(outbox.questions().map(({ key, held, text }) => [key, held, text]), [["fresh", true, "a?"]]);
});

test("what is no question is passed over", () => {
  const { shelf, outbox } = opened();
  for (const [index, text] of ["{", "null", "7", "[]", '{"key":1}'].entries()) shelf.put(`question:${index}`, text);
  assert.deepEqual(outbox.questions(), []);
});
