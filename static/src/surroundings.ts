// What a page has of the world: the socket, the clock and the dice, passed to whoever needs them.

import type { Api } from "./api.ts";
import type { Socket, Surroundings } from "./client.ts";
import type { Clock } from "./courier.ts";
import { uuid } from "./plain.ts";

export const CLOCK: Clock = {
  delay: (milliseconds, then) => {
    const timer = setTimeout(then, milliseconds);
    return () => clearTimeout(timer);
  },
  now: () => Date.now(),
  random: () => Math.random(),
  unique: uuid,
};

export function surroundings(api: Api): Surroundings {
  return { ...CLOCK, address: () => api.socketAddress(), socket: (url: string) => new WebSocket(url) as Socket };
}
