// SPDX-License-Identifier: Apache-2.0
// Which fault meets which request: a queue of rules, then chance by seed.
import { createHash } from 'node:crypto';
import { ACTIONS } from './actions.mjs';

function checked(action) {
  const full = typeof action === 'string' ? { do: action } : action;
  if (!full || !ACTIONS[full.do]) throw new Error(`no such action: ${JSON.stringify(action)}`);
  return full;
}

// The same seed, operation, key and how many of these came before: the same fate, whatever the threads do.
function chance(seed, op, key, count) {
  return createHash('sha256').update(`${seed}/${op}/${key}/${count}`).digest().readUIntBE(0, 6) / 2 ** 48;
}

export class Faults {
  constructor() {
    this.clear();
  }

  clear() {
    this.rules = [];
    this.random = null;
  }

  add({ match = {}, times = 1, action }) {
    this.rules.push({ match, left: times, seen: 0, action: checked(action) });
  }

  seed({ seed, rates, op = null }) {
    const each = Array.isArray(rates)
      ? rates
      : Object.entries(rates).map(([name, rate]) => ({ ...(typeof rate === 'object' ? rate : { rate }), do: name }));
    const list = each.map(action => ({ rate: action.rate, action: checked(action) }));
    this.random = { seed, list, op, seen: new Map() };
  }

  // → the action for this request, or null.
  pick(op, key) {
    for (const rule of this.rules) {
      const { match } = rule;
      if ((match.op ?? op) !== op || (match.key ?? key) !== key || rule.left === 0) continue;
      rule.seen += 1;
      if (match.nth && rule.seen < match.nth) continue;
      if (rule.left > 0) rule.left -= 1;
      return rule.action;
    }
    return this.random && (this.random.op ?? op) === op ? this.draw(op, key) : null;
  }

  draw(op, key) {
    const { seed, list, seen } = this.random;
    const name = `${op}/${key}`;
    const count = seen.get(name) ?? 0;
    seen.set(name, count + 1);
    let at = chance(seed, op, key, count);
    for (const { rate, action } of list) {
      if (at < rate) return action;
      at -= rate;
    }
    return null;
  }
}
