// SPDX-License-Identifier: Apache-2.0
// The results as tables of text, which are Markdown's too.

const number = (value, digits = 1) => value === undefined ? '' :
  value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });

export function table(title, head, rows) {
  const all = [head, ...rows];
  const widths = head.map((_, i) => Math.max(...all.map(row => String(row[i]).length)));
  const line = row => `| ${row.map((cell, i) => i === 0 ? String(cell).padEnd(widths[i]) : String(cell).padStart(widths[i])).join(' | ')} |`;
  const rule = `|${widths.map((width, i) => i === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`).join('|')}|`;
  return `${title}\n\n${[line(head), rule, ...rows.map(line)].join('\n')}\n`;
}

function operations(results, part, title) {
  const lines = results.parts[part];
  if (!lines) return '';
  const counted = name => results.parts.allocations?.find(line => line.name === name);
  const rows = lines.map(line => [line.name, number(line.ratio, 2), number(line.floor_cpu_us), number(line.our_cpu_us),
    number(line.floor_wall_us), number(line.our_wall_us), number(line.ours.requests, 0), number(line.ours.in, 0), number(line.ours.out, 0),
    number(counted(line.name)?.floor.allocations, 0), number(counted(line.name)?.ours.allocations, 0)]);
  return table(`Operations, ${title}: CPU and time of one in us, and what it sends, gets and allocates`,
    ['operation', 'ratio', 'CPU floor', 'ours', 'time floor', 'ours', 'requests', 'bytes out', 'in', 'allocs floor', 'ours'], rows);
}

function instructions(results) {
  const lines = results.parts.instructions;
  if (!lines) return '';
  const floor = name => lines.find(line => line.name === name && line.of === 'floor')?.count;
  return table('Instructions in user space, by callgrind', ['what', 'floor', 'ours', 'more', 'ratio'],
    lines.filter(line => line.of === 'ours').map(({ name, count }) => [name, number(floor(name), 0), number(count, 0),
      floor(name) ? number(count - floor(name), 0) : '', floor(name) ? number(count / floor(name), 2) : '']));
}

function stages(results) {
  if (!results.parts.stages) return '';
  const bare = { signature: 'the same hashes by EVP', decode: "jansson's parse" };
  return table('Stages, CPU in us', ['stage', 'ours', 'beside', 'its', 'ratio'], results.parts.stages.map(line =>
    [line.name, number(line.our_cpu_us, 2), bare[line.name] ?? '', bare[line.name] ? number(line.floor_cpu_us, 2) : '',
      bare[line.name] ? number(line.ratio, 2) : '']));
}

function list(results) {
  const lines = results.parts.list;
  if (!lines) return '';
  return table("Lists beside jansson's bare parse of the same bytes, CPU of an item in us", ['list', 'ours', 'jansson', 'ratio'],
    lines.filter(({ kind }) => kind === 'list').map(line => [line.name, number(line.our_cpu_us / line.items, 2),
      number(line.floor_cpu_us / line.items, 2), number(line.ratio, 2)])) + '\n' +
    table('Heap of the streaming form', ['pages', 'items', 'KB'], lines.filter(({ kind }) => kind === 'list memory')
      .map(line => [line.pages, number(line.items, 0), number(line.bytes / 1000, 0)]));
}

function threads(results) {
  const lines = results.parts.threads;
  if (!lines) return '';
  const fast = lines.filter(({ kind }) => kind === 'threads').map(line =>
    [line.threads, number(line.our_per_second, 0), number(line.floor_per_second, 0), number(line.throughput_ratio, 2), number(line.cpu_ratio, 2)]);
  const slow = lines.filter(({ kind }) => kind !== 'threads').map(line =>
    [line.threads, number(line.our_per_second, 0), number(line.floor_per_second, 0), number(line.throughput_ratio, 2)]);
  return `${table('Threads on one core and one store: gets a second', ['threads', 'ours', 'floor', 'ratio', "CPU's ratio"], fast)}
${table('The same, answers of 5 ms', ['threads', 'ours', 'floor', 'ratio'], slow)}`;
}

function mutexes(results) {
  const lines = results.parts.mutexes;
  return lines ? table('Mutexes of one operation: locked, found taken, us waited for them; polls, sends and receipts with one held',
    ['operation', 'threads', 'locked', 'taken', 'waited', 'held across I/O'], lines.map(line =>
      [line.of, line.threads, number(line.locked, 1), number(line.contended, 4), number(line.wait_us, 2), line.under_io])) : '';
}

function cold(results) {
  const line = results.parts.cold?.[0];
  return line ? table('From process start to first lock, ms', ['', 'floor', 'ours', 'ratio'],
    [['time', number(line.floor_ms, 2), number(line.our_ms, 2), number(line.ratio, 2)],
      ['CPU', number(line.floor_cpu_ms, 2), number(line.our_cpu_ms, 2), number(line.our_cpu_ms / line.floor_cpu_ms, 2)]]) : '';
}

function scale(results) {
  const lines = results.parts.scale;
  const of = kind => lines?.find(line => line.kind === kind);
  const burst = of('burst');
  const held = of('held');
  if (!burst || !held) return '';
  const rows = [
    [`${number(burst.locks, 0)} acquisitions at once, over ${burst.connections} connections: ms`, number(burst.our_ms, 0), number(burst.floor_ms, 0), number(burst.ratio, 2)],
    ['  CPU of one, us', number(burst.our_cpu_us), number(burst.floor_cpu_us), number(burst.our_cpu_us / burst.floor_cpu_us, 2)],
    [`${number(held.locks, 0)} locks held: CPU of a renewal, us`, number(held.our_cpu_us), number(held.floor_cpu_us), number(held.ratio, 2)],
    ['  heap of one lock, bytes', number(held.bytes_per_lock, 0), '', ''],
    ['  resident memory of one lock, bytes', number(held.resident_per_lock, 0), '', ''],
    ['  threads of ours; connections', `${held.threads}; ${held.connections}`, '', ''],
    ['  writes of one lock in an hour', number(held.renewals / held.locks / held.ttl_ms * 3600e3, 0), '', ''],
    ['  latest renewal after its due time, in leases', Math.max(0, held.latest).toFixed(4), '', ''],
    ['  the same while 1 in 1,000 hangs and 1 in 1,000 is throttled', Math.max(0, held.latest_in_trouble).toFixed(4), '', ''],
  ];
  return table('Many locks of one store', ['what', 'ours', 'floor', 'ratio'], rows);
}

export function tables(results) {
  return [operations(results, 'http', 'HTTP'), operations(results, 'tls', 'TLS'), instructions(results), stages(results),
    list(results), threads(results), mutexes(results), cold(results), scale(results)].filter(text => text !== '').join('\n');
}
