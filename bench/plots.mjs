// SPDX-License-Identifier: Apache-2.0
// Writes docs/plots/*.svg and the tables between the marks in docs/performance.md, of build/bench/results.json.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bounds } from './bounds.mjs';
import { COST_HEAD, PRICE, POLLS, TTLS, costRows, dollars, held, waiting } from './cost.mjs';
import { bars, lines, stacked } from './svg.mjs';
import { table, tables } from './tables.mjs';

const ROOT = resolve(fileURLToPath(import.meta.url), '../..');
const RESULTS = `${ROOT}/build/bench/results.json`;
const PAGE = `${ROOT}/docs/performance.md`;
const FOLDER = `${ROOT}/docs/plots`;

if (!existsSync(RESULTS)) {
  process.stderr.write('bench: there are no results: make bench\n');
  process.exit(1);
}
const results = JSON.parse(readFileSync(RESULTS, 'utf8'));
const part = name => results.parts[name] ?? [];
const BOUNDS = { http: { get: 1.3, put: 1.3, 'lock+unlock': 1.4 }, tls: { get: 1.3, put: 1.3, 'lock+unlock': 1.3 } };

function operations() {
  const shown = part('http').filter(({ name }) => !name.startsWith('list'));
  const names = shown.map(({ name }) => name);
  const series = (key, title) => ({ name: title, values: names.map(name => part(key).find(one => one.name === name)?.ratio),
    marks: names.map(name => BOUNDS[key][name]) });
  return bars('CPU of an operation', 'to the floor\'s; red: the bound', names, [series('http', 'HTTP'), series('tls', 'TLS')]);
}

const SHARES = [['floor', "libcurl's floor"], ['sign', 'signing'], ['encode', 'composing'], ['decode', 'reading'], ['rest', 'all else']];

function shares() {
  const shown = part('instructions').filter(({ shares: found }) => found);
  return stacked('Where the instructions of an operation go', 'in user space, by callgrind', shown.map(({ name }) => name),
    SHARES.map(([key, name]) => ({ name, values: shown.map(({ shares: found }) => found[key]) })));
}

function threads() {
  const points = (kind, of) => part('threads').filter(one => one.kind === kind).map(one => [one.threads, one[of]]);
  return lines('Gets a second by threads on one store', 'logarithmic', 'threads', [
    { name: 'floor, at once', points: points('threads', 'floor_per_second') },
    { name: 'ours, at once', points: points('threads', 'our_per_second') },
    { name: 'floor, answers of 5 ms', points: points('threads, slow answers', 'floor_per_second') },
    { name: 'ours, answers of 5 ms', points: points('threads, slow answers', 'our_per_second') }]);
}

function memory() {
  const shown = part('list').filter(({ kind }) => kind === 'list memory');
  return bars('Heap of the streaming list', 'KB', shown.map(({ pages }) => `${pages} page${pages > 1 ? 's' : ''}`),
    [{ name: '1,000 items to a page', values: shown.map(({ bytes }) => bytes / 1000) }]);
}

const cost = () => lines('Write units of one lock in an hour', 'logarithmic', 'ttl_ms or poll_ms, in seconds', [
  { name: 'held, by ttl_ms', points: TTLS.map(ttl => [ttl, held(ttl)]) },
  { name: 'waiting, by poll_ms', points: POLLS.map(poll => [poll, waiting(poll)]) }]);

const money = () => lines(`Dollars of 1,000 locks in 30 days, at $${PRICE} a million`, 'logarithmic', 'ttl_ms or poll_ms, in seconds', [
  { name: 'held, by ttl_ms', points: TTLS.map(ttl => [ttl, dollars(held(ttl) * 720 * 1000)]) },
  { name: 'waiting, by poll_ms', points: POLLS.map(poll => [poll, dollars(waiting(poll) * 720 * 1000)]) }]);

// What stands between <!-- NAME --> and <!-- end --> becomes text.
function put(page, name, text) {
  const pattern = new RegExp(`(<!-- ${name} -->\\n)[^]*?(<!-- end -->)`);
  if (!pattern.test(page)) throw new Error(`docs/performance.md has no place for ${name}`);
  return page.replace(pattern, (_, from, to) => `${from}\n${text.trim()}\n\n${to}`);
}

function mustShow() {
  return table('', ['must show', 'measured', 'bound', ''], bounds(results).map(({ what, value, bound, text, ok }) =>
    [what.trim(), text ?? value.toFixed(2), bound, ok ? 'ok' : 'missed']));
}

const plots = { operations, shares, threads, memory, cost, money };
mkdirSync(FOLDER, { recursive: true });
for (const [name, plot] of Object.entries(plots)) {
  try {
    writeFileSync(`${FOLDER}/${name}.svg`, plot());
  } catch (error) {
    process.stderr.write(`bench: no plot of ${name}: run all parts of make bench (${error.message})\n`);
    process.exitCode = 1;
  }
}
let page = readFileSync(PAGE, 'utf8');
page = put(page, 'bounds', mustShow());
page = put(page, 'tables', tables(results));
page = put(page, 'cost', table('', COST_HEAD, costRows()));
writeFileSync(PAGE, page);
process.stdout.write(`docs/performance.md, docs/plots: ${Object.keys(plots).join(' ')}\n`);
