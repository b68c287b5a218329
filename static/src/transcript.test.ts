import assert from "node:assert/strict";
import { test } from "node:test";
import { EMPTY, applied, asked, following, lastQuestion, opened, refused, running, textOf, visible, withdrawn, type Transcript } from "./transcript.ts";
import type { WireEvent } from "./wire.ts";

const response = (status: string, more = {}) => ({ id: "resp_1", status, ...more });
const place = { output_index: 1, content_index: 0 };
const thought = { id: "rs_1", type: "reasoning" };
const reply = { id: "msg_1", type: "message", role: "assistant" };

const LOG: WireEvent[] = [
  { type: "response.created", response: response("queued", { created_at: 5 }) },
  { type: "response.in_progress", response: response("in_progress") },
  { type: "response.output_item.added", output_index: 0, item: { ...thought, status: "in_progress" } },
  { type: "response.reasoning_text.delta", output_index: 0, content_index: 0, delta: "Hm" },
  { type: "response.reasoning_text.delta", output_index: 0, content_index: 0, delta: "m." },
  { type: "response.reasoning_text.done", output_index: 0, content_index: 0, text: "Hmm." },
  { type: "response.output_item.done", output_index: 0, item: { ...thought, status: "completed", content: [{ type: "reasoning_text", text: "Hmm." }] } },
  { type: "response.output_item.added", output_index: 1, item: { ...reply, status: "in_progress", content: [] } },
  { type: "response.content_part.added", ...place, part: { type: "output_text", text: "" } },
  { type: "response.output_text.delta", ...place, delta: "One " },
  { type: "response.output_text.delta", ...place, delta: "log, " },
  { type: "response.output_text.delta", ...place, delta: "many readers." },
  { type: "response.output_text.done", ...place, text: "One log, many readers." },
  { type: "response.output_item.done", output_index: 1, item: { ...reply, status: "completed", content: [{ type: "output_text", text: "One log, many readers." }] } },
  { type: "response.completed", response: response("completed", { usage: { output_tokens: 6 } }) },
].map((event, sequence_number) => ({ ...event, sequence_number }));

const START = asked(EMPTY, "How?", "asked-1");
const play = (events: WireEvent[], from: Transcript = START) => events.reduce(applied, from);
const texts = (state: Transcript) => visible(state).map(textOf);

test("the law: for every cut and every overlap, the first events and then the rest give the uncut answer", () => {
  const whole = play(LOG);
  for (let cut = 0; cut <= LOG.length; cut++) {
    for (let back = 0; back <= cut; back++) assert.deepEqual(play(LOG.slice(back), play(LOG.slice(0, cut))), whole);
  }
});

test("an event that was seen returns the very same state", () => {
  const state = play(LOG.slice(0, 10));
  for (const event of LOG.slice(0, 10)) assert.equal(applied(state, event), state);
});

test("a page that was reloaded reaches the same answer from the log alone", () => {
  const reloaded = play(LOG, following(opened([]), "resp_1"));
  assert.deepEqual(reloaded.answer, play(LOG).answer);
});

test("text appears as it is written", () => {
  assert.deepEqual(texts(play(LOG.slice(0, 11))), ["How?", "Hmm.", "One log, "]);
});

test("numbers may skip where entries were lost", () => {
  const tail = LOG.slice(12).map((event) => ({ ...event, sequence_number: event.sequence_number! + 1000 }));
  assert.deepEqual(texts(play(tail, play(LOG.slice(0, 10)))).at(-1), "One log, many readers.");
});

test("an item whose beginning was lost does not break the page", () => {
  const state = play([{ ...LOG[7]!, sequence_number: 1007 }, { ...LOG[9]!, sequence_number: 1008 }], play(LOG.slice(0, 2)));
  assert.deepEqual(texts(state), ["How?", "One "]);
});

test("our own events are not part of the log", () => {
  const state = play(LOG.slice(0, 3));
  assert.equal(applied(state, { type: "throughline:waiting", reason: "prefill", sequence_number: 900 }), state);
});

test("an answer that is stored and streamed shows once", () => {
  const stored = opened([{ id: "msg_0", type: "message", role: "user", content: [{ type: "input_text", text: "How?" }] }, { ...reply, content: "One log" }]);
  assert.deepEqual(texts(play(LOG, following(stored, "resp_1"))), ["How?", "Hmm.", "One log, many readers."]);
});

test("the next question keeps the answer before it", () => {
  assert.deepEqual(texts(asked(play(LOG), "And then?", "asked-2")), ["How?", "Hmm.", "One log, many readers.", "And then?"]);
});

for (const [name, status, more, expected] of [
  ["completed", "completed", {}, { status: "completed" }],
  ["incomplete", "incomplete", { incomplete_details: { reason: "max_output_tokens" } }, { status: "incomplete", reason: "max_output_tokens" }],
  ["incomplete", "cancelled", {}, { status: "cancelled" }],
  ["failed", "failed", { error: { code: "server_error", message: "x" } }, { status: "failed", error: { code: "server_error", message: "x" } }],
] as const) {
  test(`response.${name} with status ${status} ends the turn`, () => {
    const state = play([{ type: `response.${name}`, sequence_number: 12, response: response(status, more) }], play(LOG.slice(0, 12)));
    assert.equal(running(state), false);
    for (const [key, value] of Object.entries(expected)) assert.deepEqual(state.answer?.[key as "status"], value);
    assert.equal(texts(state).at(-1), "One log, many readers.");
  });
}

test("a final output that equals what was streamed keeps the same items", () => {
  const before = play(LOG.slice(0, 14));
  const output = [{ ...thought, status: "completed", content: [{ type: "reasoning_text", text: "Hmm." }] },
    { ...reply, status: "completed", content: [{ type: "output_text", text: "One log, many readers." }] }];
  const after = applied(before, { type: "response.completed", sequence_number: 14, response: response("completed", { output }) });
  after.answer!.items.forEach((item, index) => assert.equal(item, before.answer!.items[index]));
});

test("a refused question stays, with the reason", () => {
  const state = refused(START, { code: "model_not_found", message: "" });
  assert.deepEqual([texts(state), state.answer?.status, lastQuestion(state)], [["How?"], "failed", "How?"]);
});

test("a question that was withdrawn is not running", () => assert.equal(running(withdrawn(START)), false));

test("events without a turn change nothing", () => assert.equal(applied(EMPTY, LOG[0]!), EMPTY));

test("arguments of a function call are written too", () => {
  const events: WireEvent[] = [LOG[0]!, LOG[1]!,
    { type: "response.output_item.added", sequence_number: 2, output_index: 0, item: { id: "fc_1", type: "function_call", name: "add", arguments: "" } },
    { type: "response.function_call_arguments.delta", sequence_number: 3, output_index: 0, delta: '{"a":' },
    { type: "response.function_call_arguments.done", sequence_number: 4, output_index: 0, arguments: '{"a":1}' }];
  assert.deepEqual(visible(play(events)).map((item) => [item.name, textOf(item)]).at(-1), ["add", '{"a":1}']);
});
