import assert from "node:assert/strict";
import { test } from "node:test";
import { HttpError, type Conversation } from "./api.ts";
import { Unauthorized } from "./client.ts";
import { Courier } from "./courier.ts";
import { Outbox, localPlace, type Question } from "./outbox.ts";

const settle = () => new Promise<void>((resolve) => setImmediate(resolve));
const gone = new TypeError("fetch failed");

/** A server that fails as told, and a clock that moves when told. */
class World {
  time = 1_000_000;
  timers = new Set<{ at: number; then: () => void }>();
  /** Thrown one after the other; null: it works. A function throws after it worked. */
  failures: (Error | null)[] = [];
  calls: string[] = [];
  turns = new Set<string>();
  arrived: string[] = [];
  keys = 0;
  locked = 0;
  busy: string | null = null;
  kept = new Map<string, string>();
  outbox = new Outbox({
    names: () => [...this.kept.keys()], get: (name) => this.kept.get(name) ?? null,
    put: (name, value) => { this.kept.set(name, value); return true; }, drop: (name) => void this.kept.delete(name),
  }, () => this.time);
  courier = new Courier(this.outbox, {
    models: async () => ["m"],
    start: async (title, key) => { this.#call(`start ${title} ${key}`); return { id: `conv_${key}` } as Conversation; },
    deliver: async (conversation, model, text, key) => { this.#call(`deliver ${conversation} ${model} ${text} ${key}`); this.turns.add(key); },
  }, {
    delay: (milliseconds, then) => {
      const timer = { at: this.time + milliseconds, then };
      this.timers.add(timer);
      return () => this.timers.delete(timer);
    },
    now: () => this.time, random: () => 0, unique: () => `fresh${++this.keys}`,
  }, {
    tab: "mine", busyWith: () => this.busy, created: () => {}, delivered: (question) => this.arrived.push(question.key),
    locked: () => { this.locked += 1; }, lost: () => {}, changed: () => {},
  });

  #call(name: string): void {
    this.calls.push(name);
    const failure = this.failures.shift();
    if (failure) throw failure;
  }

  put(key: string, more: Partial<Question> = {}): void {
    this.outbox.put({
      key, place: "conv_1", title: "T", text: "x", model: null, at: this.time, touched: this.time, owner: "mine", held: false,
      error: null, ...more,
    });
  }

  async nudge(): Promise<void> {
    this.courier.nudge();
    for (let turn = 0; turn < 5; turn += 1) await settle();
  }

  async pass(milliseconds: number): Promise<void> {
    this.time += milliseconds;
    for (const timer of [...this.timers]) if (timer.at <= this.time && this.timers.delete(timer)) timer.then();
    for (let turn = 0; turn < 5; turn += 1) await settle();
  }
}

test("makes the conversation, then the turn, with the keys that they were given", async () => {
  const world = new World();
  world.put("k", { place: localPlace("k") });
  await world.nudge();
  assert.deepEqual(world.calls, ["start T k", "deliver conv_k m x k"]);
  assert.deepEqual(world.arrived, ["k"]);
  assert.deepEqual(world.outbox.questions(), []);
});

for (const failure of [gone, new HttpError(503, "server_overloaded", ""), new HttpError(500, "http_500", ""), new HttpError(429, "rate_limit_exceeded", "")]) {
  test(`asks again, with the same call, after ${failure.message || (failure as HttpError).code}`, async () => {
    const world = new World();
    world.put("k");
    world.failures = [failure, failure];
    await world.nudge();
    assert.ok(world.courier.until! > world.time);
    await world.pass(20_000);
    await world.pass(20_000);
    assert.deepEqual(new Set(world.calls), new Set(["deliver conv_1 m x k"]));
    assert.equal(world.calls.length, 3);
    assert.deepEqual([...world.turns], ["k"]);
    await world.pass(100_000);
    assert.equal(world.calls.length, 3);
  });
}

test("leaves a server alone for as long as it asks", async () => {
  const world = new World();
  world.put("k");
  world.failures = [new HttpError(503, "server_overloaded", "", 60_000)];
  await world.nudge();
  await world.pass(59_000);
  assert.equal(world.calls.length, 1);
  await world.pass(1_000);
  assert.equal(world.calls.length, 2);
});

test("a refusal is final, and says why", async () => {
  const world = new World();
  world.put("k");
  world.failures = [new HttpError(400, "context_length_exceeded", "Too long.")];
  await world.nudge();
  await world.pass(100_000);
  assert.equal(world.calls.length, 1);
  assert.equal(world.outbox.find("k")?.held, true);
  assert.equal(world.outbox.find("k")?.error?.code, "context_length_exceeded");
});

for (const code of ["idempotency_key_reused", "stream_position_lost"]) {
  test(`${code} says that it had arrived`, async () => {
    const world = new World();
    world.put("k");
    world.failures = [new HttpError(409, code, "")];
    await world.nudge();
    assert.deepEqual([world.arrived, world.outbox.questions().length], [["k"], 0]);
  });
}

test("a question whose conversation another one's key had made is kept in a new one", async () => {
  const world = new World();
  world.put("k", { place: localPlace("taken") });
  world.failures = [new HttpError(409, "idempotency_key_reused", "")];
  await world.nudge();
  assert.deepEqual(world.arrived, []);
  assert.deepEqual(world.outbox.questions().map(({ place, held }) => [place, held]), [[localPlace("fresh1"), true]]);
});

test("a question whose conversation was deleted is kept in a new one", async () => {
  const world = new World();
  world.put("k");
  world.failures = [new HttpError(404, "not_found", "")];
  await world.nudge();
  assert.deepEqual(world.outbox.questions().map(({ place, held }) => [place, held]), [[localPlace("fresh1"), true]]);
});

test("questions of one conversation go one after the other", async () => {
  const world = new World();
  world.put("a", { at: 1 });
  world.put("b", { at: 2 });
  world.failures = [null, new HttpError(400, "conversation_locked", "")];
  await world.nudge();
  assert.deepEqual(world.arrived, ["a"]);
  await world.pass(3_000);
  assert.deepEqual(world.arrived, ["a"]);
  await world.pass(3_000);
  assert.deepEqual(world.arrived, ["a", "b"]);
});

test("a question of another tab is left to it for a while", async () => {
  const world = new World();
  world.put("k", { owner: "other" });
  await world.nudge();
  assert.deepEqual(world.calls, []);
  await world.pass(30_000);
  assert.deepEqual(world.arrived, ["k"]);
});

test("what waits for a person, or is being asked by the open turn, is left alone", async () => {
  const world = new World();
  world.put("held", { place: "conv_2", held: true });
  world.put("busy");
  world.busy = "busy";
  await world.nudge();
  await world.pass(100_000);
  assert.deepEqual(world.calls, []);
});

test("without a key nothing more is tried until there is one", async () => {
  const world = new World();
  world.put("a");
  world.put("b", { place: "conv_2" });
  world.failures = [new Unauthorized()];
  await world.nudge();
  await world.pass(100_000);
  assert.deepEqual([world.calls.length, world.locked], [1, 1]);
  await world.nudge();
  assert.deepEqual(world.arrived, ["a", "b"]);
});

test("a question that is discarded while its conversation is made is not sent", async () => {
  const world = new World();
  world.put("k", { place: localPlace("k") });
  world.courier.nudge();
  world.outbox.remove("k");
  await world.pass(0);
  assert.deepEqual(world.calls.filter((call) => call.startsWith("deliver")), []);
});

test("what another tab does shortens no wait", async () => {
  const world = new World();
  world.put("k");
  world.failures = [gone, gone, gone];
  await world.nudge();
  for (let event = 0; event < 10; event += 1) world.courier.notice();
  await world.pass(0);
  assert.equal(world.calls.length, 1);
});

test("what another tab asks is watched by whoever has nothing to do", async () => {
  const world = new World();
  await world.nudge();
  world.put("k", { owner: "other" });
  world.courier.notice();
  await world.pass(0);
  assert.equal(world.courier.until, world.time + 30_000);
});

test("an end is an end", async () => {
  const world = new World();
  world.put("k");
  world.failures = [gone];
  await world.nudge();
  world.courier.stop();
  await world.pass(100_000);
  assert.equal(world.calls.length, 1);
});
