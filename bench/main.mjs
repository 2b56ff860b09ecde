// SPDX-License-Identifier: Apache-2.0
// What `make bench` runs: starts the responder, runs the programs against it, prints tables and, in the end, what must
// show, each as a ratio with its bound. All numbers go to build/bench/results.json. Status 1: a bound is missed.
//
// ONLY=part runs the parts with that in their names (see PARTS) and leaves the others' numbers as they were.
// SHORT=1 runs all but callgrind for a moment each, keeps no numbers, and looks at the bounds that are the same on
// every machine.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { bounds } from './bounds.mjs';
import { tables } from './tables.mjs';

const ROOT = resolve(fileURLToPath(import.meta.url), '../..');
const BUILD = `${ROOT}/build/bench`;
const RESULTS = `${BUILD}/results.json`;
const PINNED = availableParallelism() >= 2 && spawnSync('taskset', ['-c', '0', 'true']).status === 0;

const PARTS = {
  http: target => programs(target.http, ['operations']),
  tls: target => programs(target.tls, ['operations'], { ROUND_MS: '80' }),
  allocations: target => programs(target.http, ['operations'], { ROUNDS: '1', ROUND_MS: '1', ...preload('allocations') }),
  stages: target => programs(target.http, ['signing'], { ROUND_MS: '50' }),
  list: target => programs(target.http, ['list'], { ROUNDS: rounds(7) }),
  threads: target => programs(target.http, ['threads'], { ROUNDS: rounds(7) }),
  mutexes: target => programs(target.http, ['threads'], preload('mutexes')),
  cold: target => programs(target.http, ['cold', `${BUILD}/cold_ours`, `${BUILD}/cold_floor`]),
  scale: target => programs(target.http, ['scale']),
  instructions: target => instructions(target.http),
  size,
};

const rounds = few => process.env.ROUNDS ?? String(few);
const preload = name => ({ LD_PRELOAD: `${BUILD}/${name}.so` });

function pinned(core, program, ...args) {
  return PINNED ? ['taskset', '-c', String(core), program, ...args] : [program, ...args];
}

const SHORT = Boolean(process.env.SHORT);
const MOMENT = { ROUNDS: '1', ROUND_MS: '2', STARTS: '3', LOCKS: '3000', LOCKS_AT_ONCE: '400', TTL_MS: '6000' };

function fail(message) {
  process.stderr.write(`bench: ${message}\n`);
  process.exit(1);
}

// ---- The responder ------------------------------------------------------------------------------

function makeCertificate() {
  const made = spawnSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
    '-days', '2', '-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1',
    '-keyout', `${BUILD}/key.pem`, '-out', `${BUILD}/certificate.pem`]);
  if (made.status !== 0) fail(`openssl makes no certificate: ${made.stderr ?? made.error}`);
}

// → where it is, with and without TLS, as the programs' environment.
async function startResponder() {
  const [program, ...args] = pinned(1, `${BUILD}/responder`, `${BUILD}/certificate.pem`, `${BUILD}/key.pem`);
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  child.on('error', error => fail(`the responder: ${error.message}`));
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  const [port, tlsPort] = line.split(' ');
  return {
    child,
    http: { BENCH_PORT: port, BENCH_URL: `http://127.0.0.1:${port}/` },
    tls: { BENCH_PORT: port, BENCH_URL: `https://127.0.0.1:${tlsPort}/`, BENCH_CA: `${BUILD}/certificate.pem` },
  };
}

// ---- Programs -----------------------------------------------------------------------------------

function environment(more) {
  const env = { ...process.env, ...more, ...(SHORT && MOMENT) };
  for (const name of Object.keys(env)) {
    if (/^(AWS_|CURL_|SSL_CERT)|_proxy$/i.test(name)) delete env[name];
  }
  delete env.ONLY; // a part's name, not an operation's
  return env;
}

// → the lines that it prints, each an object.
async function programs(target, [name, ...args], more = {}) {
  const [program, ...rest] = pinned(0, `${BUILD}/${name}`, ...args);
  const child = spawn(program, rest, { env: environment({ ...target, ...more }), stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'close');
  const lines = [];
  for await (const line of createInterface({ input: child.stdout })) lines.push(JSON.parse(line));
  const [status] = await ended;
  if (status !== 0) fail(`${name} failed`);
  return lines;
}

const COUNTED = [
  ['operations', 'get', 'floor', 200], ['operations', 'get', 'ours', 200],
  ['operations', 'put', 'floor', 200], ['operations', 'put', 'ours', 200],
  ['operations', 'lock+unlock', 'floor', 100], ['operations', 'lock+unlock', 'ours', 100],
  ['signing', 'signature', 100], ['signing', 'encode', 100], ['signing', 'decode', 100],
];

// Of a callgrind file: by function, its instructions with those of all that it calls. Good for what does not call itself.
function inclusive(file) {
  const names = new Map();
  const costs = new Map();
  let called = null;
  const name = text => {
    const [, id, given] = /^\((\d+)\)(?: (.*))?$/.exec(text);
    if (given) names.set(id, given.replace(/\.(part|constprop|isra)\.\d+/, ''));
    return names.get(id);
  };
  let counts = false; // the line after a `calls=`
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    if (counts) costs.set(called, (costs.get(called) ?? 0) + Number(line.split(' ')[1]));
    counts = line.startsWith('calls=');
    if (line.startsWith('fn=')) name(line.slice(3));
    if (line.startsWith('cfn=')) called = name(line.slice(4));
  }
  return costs;
}

// What an operation of ours is made of, over what libcurl alone takes.
function shares(file, times, total, floor) {
  const costs = inclusive(file);
  const sum = pattern => [...costs].reduce((all, [name, cost]) => pattern.test(name) ? all + cost : all, 0) / times;
  const found = { floor, sign: sum(/^dlk_sigv4_sign$/), encode: sum(/^dlk_(request_(?!id$)\w+|compose_value)$/), decode: sum(/^dlk_json_(item|error|page|is_object)$/) };
  return { ...found, rest: total - found.floor - found.sign - found.encode - found.decode };
}

// User-space instructions of one, by callgrind.
async function instructions(target) {
  const lines = [];
  const file = `${BUILD}/callgrind.out`;
  for (const [name, what, ...rest] of COUNTED) {
    const times = rest.at(-1);
    const child = spawn('valgrind', ['--tool=callgrind', '--toggle-collect=bench_counted', `--callgrind-out-file=${file}`,
      `${BUILD}/${name}`, what, ...rest.map(String)], { env: environment(target), stdio: ['ignore', 'ignore', 'pipe'] });
    child.on('error', () => fail('valgrind is not there: tools/deps check'));
    let output = '';
    child.stderr.on('data', bytes => { output += bytes; });
    const [status] = await once(child, 'close');
    const collected = /Collected : (\d+)/.exec(output);
    if (status !== 0 || !collected) fail(`callgrind of ${what}: ${output}`);
    const count = Math.round(Number(collected[1]) / times);
    const of = name === 'operations' ? rest[0] : 'ours';
    const floor = lines.find(line => line.name === what && line.of === 'floor');
    lines.push({ kind: 'instructions', name: what, of, count, ...(floor && { shares: shares(file, times, count, floor.count) }) });
    rmSync(file);
  }
  return lines;
}

function size() {
  const library = `${ROOT}/build/release/libdynalock.so`;
  const stripped = `${BUILD}/stripped.so`;
  const done = spawnSync('strip', ['-o', stripped, library]);
  if (done.status !== 0) fail(`strip: ${done.stderr ?? done.error}`);
  const bytes = statSync(stripped).size;
  rmSync(stripped);
  return [{ kind: 'size', bytes }];
}

// ---- The whole ----------------------------------------------------------------------------------

function readResults() {
  return existsSync(RESULTS) ? JSON.parse(readFileSync(RESULTS, 'utf8')) : {};
}

async function measure(parts) {
  const started = Date.now();
  const results = SHORT || parts.length === Object.keys(PARTS).length ? { parts: {} } : { parts: {}, ...readResults() };
  results.machine = { cpu: cpus()[0].model, cores: availableParallelism(), pinned: PINNED };
  const responder = await startResponder();
  try {
    for (const part of parts) {
      process.stdout.write(`${part} ...\n`);
      results.parts[part] = await PARTS[part](responder);
    }
  } finally {
    responder.child.stdin.end();
    responder.child.kill();
  }
  results.seconds = Math.round((Date.now() - started) / 1000);
  if (!SHORT) writeFileSync(RESULTS, `${JSON.stringify(results, null, 1)}\n`);
  return results;
}

function tell(results) {
  process.stdout.write(`\n${tables(results)}\nMust show\n`);
  let missed = 0;
  for (const { what, value, bound, text, ok } of bounds(results).filter(({ steady }) => steady || !SHORT)) {
    missed += ok ? 0 : 1;
    const shown = text ?? value.toFixed(2);
    process.stdout.write(`  ${ok ? 'ok    ' : 'MISSED'}  ${what.padEnd(66)} ${shown.padStart(9)}  ${bound}\n`);
  }
  process.stdout.write(`${missed === 0 ? 'All bounds hold' : `${missed} missed`}; ${results.seconds} s; build/bench/results.json\n`);
  return missed;
}

mkdirSync(BUILD, { recursive: true });
makeCertificate();
const parts = Object.keys(PARTS).filter(part => part.includes(process.env.ONLY ?? '') && !(SHORT && part === 'instructions'));
if (parts.length === 0) fail(`ONLY is part of one of: ${Object.keys(PARTS).join(' ')}`);
process.exitCode = tell(await measure(parts)) === 0 ? 0 : 1;
