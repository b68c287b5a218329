import assert from "node:assert/strict";
import { test } from "node:test";
import { Meter } from "./meter.ts";

function started() {
  const clock = { now: 10_000 };
  const meter = new Meter(() => clock.now);
  meter.start();
  return { clock, meter };
}

test("counts seconds from the start of the turn", () => {
  const { clock, meter } = started();
  clock.now += 2_900;
  assert.equal(meter.seconds, 2);
});

test("a turn that had begun elsewhere has its own age", () => {
  const { clock, meter } = started();
  meter.backdate(30);
  clock.now += 1_000;
  assert.equal(meter.seconds, 31);
});

for (const wrong of [-5, 90_000]) {
  test(`a clock that is off by ${wrong} s is ignored`, () => {
    const { meter } = started();
    meter.backdate(wrong);
    assert.equal(meter.seconds, 0);
  });
}

test("says a speed only when there is enough to measure", () => {
  const { clock, meter } = started();
  meter.wrote(40);
  assert.equal(meter.speed, null);
  clock.now += 1_000;
  meter.wrote(40);
  assert.equal(meter.speed, 20);
});

test("says no speed while nothing comes, and does not count the gap afterwards", () => {
  const { clock, meter } = started();
  meter.wrote(40);
  clock.now += 1_000;
  meter.wrote(40);
  clock.now += 2_100;
  assert.equal(meter.speed, null);
  meter.wrote(40);
  assert.equal(meter.speed, null);
  clock.now += 1_000;
  meter.wrote(40);
  assert.equal(meter.speed, 20);
});

test("a pause forgets the speed", () => {
  const { clock, meter } = started();
  meter.wrote(40);
  clock.now += 1_000;
  meter.pause();
  assert.equal(meter.speed, null);
});
