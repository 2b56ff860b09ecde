// SPDX-License-Identifier: Apache-2.0
// What locks send by the hour, and what that costs.
//
//   node bench/cost.mjs      a table; PRICE: dollars for a million write units (0.625)

export const PRICE = Number(process.env.PRICE ?? 0.625);
const HOUR_S = 3600;

// The keeper renews every third of the lease; each renewal is a write of one unit, a record of up to 1 KB.
export const held = ttl_s => HOUR_S / (ttl_s / 3);
// A waiter tries to create the record: each failed try is charged as a write.
export const waiting = poll_s => HOUR_S / poll_s;
export const dollars = (units, price = PRICE) => units * price / 1e6;

export const TTLS = [5, 10, 20, 60, 300];
export const POLLS = [0.5, 1, 3, 10, 30];

export function costRows(price = PRICE) {
  const row = (what, units) => [what, units.toLocaleString('en-US'), dollars(units, price).toFixed(5), dollars(units * 24 * 30, price).toFixed(2)];
  return [...TTLS.map(ttl => row(`held, ttl_ms ${(ttl * 1000).toLocaleString('en-US')}`, held(ttl))),
    ...POLLS.map(poll => row(`waiting, poll_ms ${(poll * 1000).toLocaleString('en-US')}`, waiting(poll)))];
}

export const COST_HEAD = ['one lock, one hour', 'write units', '$ an hour', '$ in 30 days'];

if (process.argv[1]?.endsWith('cost.mjs')) {
  for (const row of [COST_HEAD, ...costRows()]) {
    process.stdout.write(`${row[0].padEnd(28)}${row.slice(1).map(cell => cell.padStart(14)).join('')}\n`);
  }
}
