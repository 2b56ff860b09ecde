// SPDX-License-Identifier: Apache-2.0
// Counts what happened to requests, and lets others wait for it.

export const STATES = ['arrived', 'forwarded', 'answered', 'held', 'finished'];

export class Tally {
  constructor() {
    this.waiters = new Set();
    this.reset();
  }

  reset() {
    this.counts = new Map();
  }

  add(state, op, key) {
    for (const name of [`${state}`, `${state} ${op}`, `${state} * ${key}`, `${state} ${op} ${key}`]) {
      this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
    }
    for (const waiter of this.waiters) waiter();
  }

  count(state, op = null, key = null) {
    const name = key !== null ? `${state} ${op ?? '*'} ${key}` : op !== null ? `${state} ${op}` : state;
    return this.counts.get(name) ?? 0;
  }

  byOperation(state) {
    const pairs = [...this.counts].map(([name, count]) => [name.split(' '), count]);
    return Object.fromEntries(
      pairs.filter(([name]) => name.length === 2 && name[0] === state).map(([name, n]) => [name[1], n]),
    );
  }

  wait({ state = 'arrived', op = null, key = null, count = 1, timeout_ms: timeout = 10_000 }) {
    if (!STATES.includes(state)) throw new Error(`no such state: ${state}`);
    return new Promise((done, fail) => {
      const finish = (settle, value) => {
        clearTimeout(timer);
        this.waiters.delete(check);
        settle(value);
      };
      const check = () => {
        const now = this.count(state, op, key);
        if (now >= count) finish(done, now);
      };
      const timer = setTimeout(
        () =>
          finish(
            fail,
            new Error(
              `timeout: ${this.count(state, op, key)} of ${count} ${op ?? 'requests'} ${state} after ${timeout} ms`,
            ),
          ),
        timeout,
      );
      this.waiters.add(check);
      check();
    });
  }
}
