// SPDX-License-Identifier: Apache-2.0
// What must show: each number that was measured, and its bound; steady: whatever the machine does meanwhile.

const at_most = (what, value, bound, text) => ({ what, value, bound: `<= ${bound}`, ok: value <= bound, text });
const at_least = (what, value, bound, text) => ({ what, value, bound: `>= ${bound}`, ok: value >= bound, text });

const steady = shown => ({ ...shown, steady: true });

const find = (results, part, wanted) => (results.parts[part] ?? []).find(line =>
  Object.entries(wanted).every(([name, value]) => line[name] === value));

function operations(results) {
  const limits = [['http', 'HTTP', { get: 1.3, put: 1.3, 'lock+unlock': 1.4 }],
    ['tls', 'TLS', { get: 1.3, put: 1.3, 'lock+unlock': 1.3 }]];
  return limits.flatMap(([part, title, of]) => Object.entries(of).flatMap(([name, bound]) => {
    const line = find(results, part, { name });
    return line ? [at_most(`CPU of ${name} to the floor's, ${title}`, line.ratio, bound)] : [];
  }));
}

function list(results) {
  const shown = [];
  const line = find(results, 'list', { name: 'list of 10,000' });
  const memory = (results.parts.list ?? []).filter(({ kind }) => kind === 'list memory');
  if (line) shown.push(at_most("CPU of a list of 10,000 items to jansson's bare parse", line.ratio, 2));
  if (memory.length > 1) {
    const { pages } = memory.at(-1);
    shown.push(steady(at_most(`Heap of the streaming form, ${pages} pages to 1`,
      memory.at(-1).bytes / memory[0].bytes, 1.1)));
  }
  return shown;
}

function threads(results) {
  const slow = count => find(results, 'threads', { kind: 'threads, slow answers', threads: count });
  const mutexes = (results.parts.mutexes ?? []).filter(({ kind }) => kind === 'mutexes');
  const shown = [];
  if (slow(16)) {
    shown.push(at_least('Throughput of 16 threads to that of 1, answers of 5 ms',
      slow(16).our_per_second / slow(1).our_per_second, 14));
  }
  if (mutexes.length > 0) {
    shown.push(steady(at_most('poll, send and recv with a mutex held', Math.max(...mutexes.map(m => m.under_io)), 0)));
  }
  return shown;
}

function single(results) {
  const shown = [];
  const signature = find(results, 'stages', { name: 'signature' });
  const cold = find(results, 'cold', { kind: 'cold' });
  const size = find(results, 'size', { kind: 'size' });
  if (signature) shown.push(at_most("CPU of a signature to a bare loop of its hashes'", signature.ratio, 2));
  if (cold) shown.push(at_most("Start to first lock to the floor program's", cold.ratio, 1.2));
  if (size) shown.push(steady(at_most('Stripped shared library, bytes', size.bytes, 150_000, String(size.bytes))));
  return shown;
}

function scale(results) {
  const held = find(results, 'scale', { kind: 'held' });
  const burst = find(results, 'scale', { kind: 'burst' });
  const shown = [];
  if (held) {
    const locks = held.locks.toLocaleString('en-US');
    shown.push(steady(at_most(`Threads of ours with ${locks} locks held`, held.threads, 2, String(held.threads))),
      steady(at_most('  connections', held.connections, 64, String(held.connections))),
      steady(at_most('  bytes a lock', held.bytes_per_lock, 1536, String(Math.round(held.bytes_per_lock)))),
      at_most('  latest renewal after its due time, in TTLs', held.latest, 0.1, Math.max(0, held.latest).toFixed(3)),
      at_most("  the keeper's CPU to the floor's of as many requests", held.ratio, 1.5));
  }
  if (burst) {
    shown.push(at_most(`${burst.locks.toLocaleString('en-US')} acquisitions at once, time to the floor's`, burst.ratio, 2));
  }
  return shown;
}

export function bounds(results) {
  return [operations, single, list, threads, scale].flatMap(part => part(results));
}
