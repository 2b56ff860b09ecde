// SPDX-License-Identifier: Apache-2.0
// What a seed decides, by mulberry32: a few lines, and the same on every machine.
export function randomSource(seed) {
  let state = seed >>> 0;
  const random = () => { // from 0 to below 1
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = n => Math.floor(random() * n);
  return { random, below, chance: rate => random() < rate, pick: list => list[below(list.length)] };
}

export const times = (n, make) => Array.from({ length: n }, (_, i) => make(i));
