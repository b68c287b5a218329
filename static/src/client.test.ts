import assert from "node:assert/strict";
import { test } from "node:test";
import { ADVICE, Client, Unauthorized, type Link, type Socket } from "./client.ts";
import type { Create, WireError, WireEvent } from "./wire.ts";

const CREATE: Create = { type: "response.create", model: "m", conversation: "conv_1", input: "Hi", idempotency_key: "k" };

class FakeSocket implements Socket {
  readyState = 0;
  onopen: (() => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  sent: { type: string; [key: string]: unknown }[] = [];
  closed = false;

  send(text: string): void { this.sent.push(JSON.parse(text)); }
  close(): void { this.closed = true; this.readyState = 3; }
  open(): void { this.readyState = 1; this.onopen?.(); }
  lose(code: number): void { this.readyState = 3; this.onclose?.({ code }); }
  say(event: object): void { this.onmessage?.({ data: JSON.stringify(event) }); }
}

/** A world whose clock moves when told, and whose dice show `luck`. */
class World {
  sockets: FakeSocket[] = [];
  links: Link[] = [];
  events: WireEvent[] = [];
  refusals: WireError[] = [];
  withdrawals = 0;
  losses = 0;
  luck = 0;
  refuse: Error | null = null;
  time = 1_000_000;
  timers = new Set<{ at: number; then: () => void }>();
  client = new Client({
    address: async () => { if (this.refuse) throw this.refuse; return "ws://host"; },
    socket: () => { const socket = new FakeSocket(); this.sockets.push(socket); return socket; },
    delay: (milliseconds, then) => {
      const timer = { at: this.time + milliseconds, then };
      this.timers.add(timer);
      return () => this.timers.delete(timer);
    },
    now: () => this.time,
    random: () => this.luck,
  }, {
    linked: (link) => this.links.push(link),
    event: (event) => this.events.push(event),
    refused: (error) => this.refusals.push(error),
    withdrawn: () => { this.withdrawals += 1; },
    lost: () => { this.losses += 1; },
  });

  get socket(): FakeSocket { return this.sockets.at(-1)!; }
  get wait(): number { const link = this.client.link; return link.state === "waiting" ? link.until - this.time : NaN; }

  async pass(milliseconds: number): Promise<void> {
    this.time += milliseconds;
    for (const timer of [...this.timers]) if (timer.at <= this.time && this.timers.delete(timer)) timer.then();
    await settle();
  }
}

const settle = () => new Promise<void>((resolve) => setImmediate(resolve));
const created = { type: "response.created", sequence_number: 0, response: { id: "resp_1" } };
const delta = (sequence_number: number) => ({ type: "response.output_text.delta", sequence_number, output_index: 0, delta: "x" });
const completed = { type: "response.completed", sequence_number: 9, response: { id: "resp_1", status: "completed" } };
const failure = (code: string, headers?: object) => ({ type: "error", status: 503, error: { code, message: "", headers } });

async function asking(): Promise<World> {
  const world = new World();
  world.client.ask(CREATE);
  await settle();
  world.socket.open();
  return world;
}

async function streaming(): Promise<World> {
  const world = await asking();
  for (const event of [created, delta(1), delta(2)]) world.socket.say(event);
  return world;
}

async function reconnected(world: World): Promise<FakeSocket> {
  await world.pass(world.wait);
  world.socket.open();
  return world.socket;
}

test("asks as soon as the socket is open", async () => {
  const world = await asking();
  assert.deepEqual(world.socket.sent, [CREATE]);
  assert.deepEqual(world.links.map((link) => link.state), ["connecting", "open"]);
});

const EXPECTED: [number, string][] = [
  [1000, "closed"], [1006, "waiting"], [1008, "closed"], [1009, "closed"], [1011, "waiting"], [1012, "waiting"],
  [1013, "waiting"], [1001, "waiting"], [4999, "waiting"],
];

for (const [code, state] of EXPECTED) {
  test(`${code} during a turn: ${state}`, async () => {
    const world = await streaming();
    world.socket.lose(code);
    assert.equal(world.client.link.state, state);
  });
  test(`${code} without a turn: idle`, async () => {
    const world = await streaming();
    world.socket.say(completed);
    world.socket.lose(code);
    assert.equal(world.client.link.state, "idle");
    assert.equal(world.timers.size, 0);
  });
}

test("every code of the table is tested", () => {
  const tested = new Set(EXPECTED.map(([code]) => String(code)));
  for (const code of Object.keys(ADVICE)) assert.ok(tested.has(code), code);
});

test("resumes after the last number it has seen", async () => {
  const world = await streaming();
  world.socket.lose(1006);
  const socket = await reconnected(world);
  assert.deepEqual(socket.sent, [{ type: "throughline:resume", response_id: "resp_1", starting_after: 2 }]);
});

test("asks again with the same key when nothing was accepted", async () => {
  const world = await asking();
  world.socket.lose(1006);
  assert.deepEqual((await reconnected(world)).sent, [CREATE]);
});

test("our own events do not move the position", async () => {
  const world = await streaming();
  world.socket.say({ type: "throughline:waiting", reason: "log", sequence_number: 70 });
  world.socket.lose(1012);
  assert.equal((await reconnected(world)).sent[0]!["starting_after"], 2);
});

test("follows a turn from its first event", async () => {
  const world = new World();
  world.client.follow("resp_7");
  await settle();
  world.socket.open();
  assert.deepEqual(world.socket.sent, [{ type: "throughline:resume", response_id: "resp_7" }]);
});

for (const [luck, waits] of [[0, [500, 500, 500, 500, 500, 500, 500]], [1, [1000, 2000, 4000, 8000, 16000, 20000, 20000]]] as const) {
  test(`full jitter between half a second and twenty, dice at ${luck}`, async () => {
    const world = await streaming();
    world.luck = luck;
    const seen: number[] = [];
    for (const _ of waits) {
      world.socket.lose(1006);
      seen.push(world.wait);
      await world.pass(world.wait);
    }
    assert.deepEqual(seen, waits);
  });
}

test("an event resets the patience", async () => {
  const world = await streaming();
  world.luck = 1;
  for (let loss = 0; loss < 4; loss++) { world.socket.lose(1006); await reconnected(world); }
  world.socket.say(delta(3));
  world.socket.lose(1006);
  assert.equal(world.wait, 1000);
});

test("1013 waits longer than a broken network", async () => {
  const world = await streaming();
  world.luck = 1;
  world.socket.lose(1013);
  assert.equal(world.wait, 4000);
});

test("a key that is refused during a turn asks for another; that one goes on with the turn", async () => {
  const world = await streaming();
  world.refuse = new Unauthorized();
  world.socket.lose(1012);
  await world.pass(world.wait);
  assert.equal(world.client.link.state, "unauthorized");
  world.refuse = null;
  world.client.nudge();
  await settle();
  world.socket.open();
  assert.equal(world.socket.sent[0]!.type, "throughline:resume");
});

test("no ticket without a valid key", async () => {
  const world = new World();
  world.refuse = new Unauthorized();
  world.client.ask(CREATE);
  await settle();
  assert.deepEqual([world.client.link.state, world.sockets.length], ["unauthorized", 0]);
});

test("a server that cannot be reached for a ticket is tried again", async () => {
  const world = new World();
  world.refuse = new TypeError("fetch failed");
  world.client.ask(CREATE);
  await settle();
  assert.equal(world.client.link.state, "waiting");
});

for (const [code, why] of [["server_overloaded", "busy"], ["rate_limit_exceeded", "busy"], ["model_loading", "loading"]] as const) {
  test(`${code} counts down and asks again on the same socket`, async () => {
    const world = await asking();
    world.socket.say(failure(code, { "retry-after": "7" }));
    assert.deepEqual(world.client.link, { state: "waiting", why, until: world.time + 7000 });
    await world.pass(7000);
    assert.deepEqual([world.sockets.length, world.socket.sent], [1, [CREATE, CREATE]]);
  });
}

test("any other error ends the turn", async () => {
  const world = await asking();
  world.socket.say(failure("model_not_found"));
  assert.deepEqual([world.refusals.map(({ code }) => code), world.client.link.state], [["model_not_found"], "idle"]);
});

test("the age limit of a connection is no error of the turn", async () => {
  const world = await streaming();
  world.socket.say(failure("websocket_connection_limit_reached"));
  assert.deepEqual((await reconnected(world)).sent[0]!["starting_after"], 2);
  assert.equal(world.refusals.length, 0);
});

test("stop while it streams", async () => {
  const world = await streaming();
  world.client.stop();
  world.client.stop();
  assert.deepEqual(world.socket.sent.slice(1), [{ type: "throughline:cancel", response_id: "resp_1" }]);
});

test("stop before it was accepted cancels as soon as it is", async () => {
  const world = await asking();
  world.client.stop();
  world.socket.say(created);
  assert.equal(world.socket.sent.at(-1)!.type, "throughline:cancel");
});

test("stop while disconnected is said after the resume", async () => {
  const world = await streaming();
  world.socket.lose(1006);
  world.client.stop();
  assert.deepEqual((await reconnected(world)).sent.map(({ type }) => type), ["throughline:resume", "throughline:cancel"]);
});

test("stop after the server ended the connection connects once more to say it", async () => {
  const world = await streaming();
  world.socket.lose(1008);
  world.client.stop();
  await settle();
  world.socket.open();
  assert.deepEqual(world.socket.sent.map(({ type }) => type), ["throughline:resume", "throughline:cancel"]);
});

test("stop before anything was sent withdraws", async () => {
  const world = new World();
  world.client.ask(CREATE);
  world.client.stop();
  await settle();
  assert.deepEqual([world.withdrawals, world.sockets.length, world.timers.size], [1, 0, 0]);
});

test("stop while the server is busy withdraws", async () => {
  const world = await asking();
  world.socket.say(failure("server_overloaded", { "retry-after": "5" }));
  world.client.stop();
  assert.deepEqual([world.withdrawals, world.client.link.state, world.timers.size], [1, "idle", 0]);
});

test("silence for three missed signs of life is a loss", async () => {
  const world = await streaming();
  await world.pass(44_000);
  assert.equal(world.client.link.state, "open");
  await world.pass(2_000);
  assert.deepEqual([world.client.link.state, world.socket.closed], ["waiting", true]);
});

test("a nudge ends the wait", async () => {
  const world = await streaming();
  world.socket.lose(1006);
  world.client.nudge();
  await settle();
  assert.equal(world.sockets.length, 2);
  assert.equal(world.timers.size, 1, "only the watch of the new socket");
});

test("a nudge after a long silence distrusts the socket, after a short one it does not", async () => {
  const world = await streaming();
  await world.pass(10_000);
  world.client.nudge();
  assert.equal(world.client.link.state, "open");
  await world.pass(15_000);
  world.client.nudge();
  assert.equal(world.client.link.state, "waiting");
});

test("a network that is back is used at once", async () => {
  const world = await streaming();
  world.client.distrust();
  await world.pass(0);
  assert.deepEqual([world.sockets.length, world.sockets[0]!.closed], [2, true]);
});

test("an old socket has no say", async () => {
  const world = await streaming();
  const old = world.socket;
  old.lose(1006);
  await reconnected(world);
  old.say(delta(3));
  old.lose(1000);
  assert.deepEqual([world.events.length, world.client.link.state], [3, "open"]);
});

test("released: nothing goes on", async () => {
  const world = await streaming();
  world.client.release();
  world.socket.say(delta(3));
  await world.pass(100_000);
  assert.deepEqual([world.events.length, world.sockets.length, world.timers.size], [3, 1, 0]);
});

test("what is not an event is ignored", async () => {
  const world = await asking();
  for (const data of ["{", "null", "3", '{"kind":"x"}']) world.socket.onmessage?.({ data });
  assert.equal(world.events.length, 0);
});

test("a socket that stayed open serves the next turn", async () => {
  const world = await streaming();
  world.socket.say(completed);
  world.client.ask({ ...CREATE, idempotency_key: "k2" });
  assert.deepEqual([world.sockets.length, world.socket.sent.at(-1)!["idempotency_key"]], [1, "k2"]);
});
