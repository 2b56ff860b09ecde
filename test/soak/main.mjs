// SPDX-License-Identifier: Apache-2.0
// The soak: contenders of ours (contender.c; several builds, some with a clock an hour off) and Go's requests compete
// for a few locks, through front ends that do everything that a network and a service do at their worst; contenders
// are stopped and killed. At the end history.mjs judges what they believed. One line a figure; exit status 1 if
// something is wrong.
//
//   node test/soak/main.mjs [--minutes 1] [--server local|dynalite] [--seed N] [--tenures AT_LEAST] [--faults AT_LEAST]
//        [--rig PORT]   a rig that is there; otherwise one is started
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { randomSource } from '../random.mjs';
import { connectRig, startRig } from '../rig/client.mjs';
import { clientOf } from '../rig/proxy.mjs';
import { judge, readLog } from './history.mjs';

const ROOT = resolve(import.meta.dirname, '../..');
const TTL_MAX_MS = 2000;
// docs/protocol.md, Bounds: ttl + 4 s + a poll, + 2 s after a Go client; counted from the end of the lease. By
// observation: the lease + margin + 5 s. Then a few attempts that fail, of 700 ms.
const BOUND_MS = Math.max(4000 + 2000, TTL_MAX_MS + 250 + 5000) + 50 + 4 * 700;
const CLOSE_MAX_MS = 4000;
const LIMIT_MS = 30_000; // to end in, and for sanitizers to report

const RATES = [
  { do: 'drop', rate: 0.01 },
  { do: 'drop-before', rate: 0.005 },
  { do: 'reset', rate: 0.005 },
  { do: 'reset', when: 'before', as: 'reset-before', rate: 0.005 },
  { do: 'delay', ms: 40, rate: 0.02 },
  { do: 'delay', ms: 1500, as: 'delay-past-attempt', rate: 0.005 },
  { do: 'delay', ms: 300, where: 'request', as: 'delay-request', rate: 0.01 },
  { do: 'delay', ms: 2600, where: 'request', as: 'request-past-lease', rate: 0.005 },
  { do: 'late', ms: 700, rate: 0.01 },
  { do: 'late', ms: 3000, as: 'late-past-lease', rate: 0.005 },
  { do: 'twice', rate: 0.02 },
  { do: 'close-after', rate: 0.01 },
  { do: 'blackhole', rate: 0.003 },
  { do: 'blackhole', forward: true, as: 'blackhole-forwarded', rate: 0.003 },
  { do: 'status', status: 500, rate: 0.01 },
  { do: 'status', status: 500, forward: true, as: 'status-forwarded', rate: 0.005 },
  { do: 'status', status: 503, as: 'unavailable', rate: 0.005 },
  { do: 'throttle', rate: 0.01 },
  { do: 'truncate', rate: 0.01 },
  { do: 'rewrite', body: '{"Attributes":', as: 'wrong-json', rate: 0.005 },
  { do: 'wrong-crc', rate: 0.01 },
  { do: 'trickle', bytes: 20, ms: 10, rate: 0.005 },
  { do: 'garbage', rate: 0.003 },
];
const DATES = [
  { do: 'date', offset_ms: null, as: 'date-none', rate: 0.03 },
  { do: 'date', offset_ms: 3_600_000, as: 'date-hour-fast', rate: 0.01 },
  { do: 'date', offset_ms: -3_600_000, as: 'date-hour-slow', rate: 0.01 },
];
const FRONT_ENDS = {
  plain: { rates: RATES },
  'second off': { settings: { skew_ms: -1000 }, rates: RATES },
  'wrong dates': { rates: [...DATES, ...RATES] },
};
const CONTENDERS = [
  { build: 'release', front: 'plain' },
  { build: 'asan', front: 'plain' },
  { build: 'tsan', front: 'plain' },
  { build: 'release', front: 'plain', clock: '+1h' },
  { build: 'release', front: 'second off' },
  { build: 'asan', front: 'second off', },
  { build: 'release', front: 'wrong dates' },
  { build: 'release', front: 'wrong dates', clock: '-1h' },
];
const GO_CLIENTS = 3;
const KEYS = ['keep-1', 'keep-2', 'keep-3', 'delete-1', 'delete-2', 'delete-3', 'go-1', 'go-2'];
const isOrdered = key => key.startsWith('keep');

const { values: options } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    server: { type: 'string', default: 'local' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    tenures: { type: 'string', default: '1' },
    faults: { type: 'string', default: '0' },
    rig: { type: 'string' },
  },
});
const { server } = options;

const nowUs = () => Number(process.hrtime.bigint() / 1000n);

const { random, below, pick } = randomSource(Number(options.seed));

const FAKETIME = ['/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu', '/usr/lib']
  .map(folder => `${folder}/faketime/libfaketime.so.1`)
  .find(existsSync);

class Arena {
  constructor(control, folder) {
    Object.assign(this, { control, folder, table: `soak-${process.pid}`, running: [], ended: [], stops: [] });
    this.go = { beliefs: [], crashes: 0 };
    this.started = 0;
    this.kills = 0;
    this.problems = [];
  }

  async open() {
    mkdirSync(join(this.folder, 'resources'));
    await this.control.ask({ cmd: 'table', server, name: this.table });
    this.fronts = {};
    for (const [name, { settings, rates }] of Object.entries(FRONT_ENDS)) {
      const front = await this.control.ask({ cmd: 'proxy', server, ...settings });
      await this.control.ask({ cmd: 'seed', proxy: front.proxy, seed: Number(options.seed), rates });
      this.fronts[name] = front;
    }
  }

  environment({ front, clock }, log) {
    const faked = clock ? { LD_PRELOAD: FAKETIME, FAKETIME: clock, DONT_FAKE_MONOTONIC: '1', FAKETIME_DONT_RESET: '1' } : {};
    return {
      ...process.env,
      ...faked,
      ...clientOf(this.fronts[front].port),
      SOAK_TABLE: this.table,
      SOAK_KEYS: KEYS.join(','),
      SOAK_LOG: log,
      SOAK_RESOURCES: join(this.folder, 'resources'),
      SOAK_SEED: String(Number(options.seed) + this.started),
      TSAN_OPTIONS: 'die_after_fork=0:ignore_noninstrumented_modules=1',
    };
  }

  start(kind) {
    this.started += 1;
    const contender = { kind, who: `${this.started} ${kind.build} ${kind.front} ${kind.clock ?? ''}`, said: '' };
    contender.log = join(this.folder, `${this.started}.log`);
    const program = join(ROOT, `build/${kind.build}/soak/contender`);
    contender.child = spawn(program, [], { env: this.environment(kind, contender.log), stdio: ['pipe', 'ignore', 'pipe'] });
    contender.child.stderr.setEncoding('utf8').on('data', text => { contender.said += text; });
    contender.child.stdin.on('error', () => {});
    contender.exited = once(contender.child, 'close').then(([status, signal]) => {
      this.running = this.running.filter(each => each !== contender);
      this.ended.push(contender);
      if (contender.killedAt === undefined && (status !== 0 || signal))
        this.problems.push(`${contender.who} ended with ${status ?? signal}: ${contender.said.slice(0, 4000)}`);
    });
    this.running.push(contender);
  }

  // Stops one for less or more than its lease, again and again.
  async stopper(end) {
    while (nowUs() < end) {
      await sleep(100 + random() * 600);
      const contender = pick(this.running);
      if (!contender || contender.stopped) continue;
      contender.stopped = true;
      const stop = { who: contender.who, from: nowUs() };
      contender.child.kill('SIGSTOP');
      await sleep(random() < 0.5 ? 100 + random() * 600 : 1000 + random() * 2500);
      contender.child.kill('SIGCONT');
      this.stops.push({ ...stop, to: nowUs() });
      contender.stopped = false;
    }
  }

  async killer(end) {
    while (nowUs() < end) {
      await sleep(1500 + random() * 2500);
      const contender = pick(this.running);
      if (!contender) continue;
      contender.killedAt = nowUs();
      this.kills += 1;
      contender.child.kill('SIGKILL');
      await contender.exited;
      this.start(contender.kind);
    }
  }

  // A Go client has a lock until the time that its record says, by which others may take it.
  async goClient(number, control, end) {
    const ask = (call, key, more = {}) =>
      control.ask({ cmd: 'go', server, table: this.table, partition: 'soak', client: `go ${number}`, call, key, ...more });
    const until = record => nowUs() + (record.expires * 1000 - Date.now()) * 1000;
    while (nowUs() < end) {
      const key = pick(KEYS.filter(each => each.startsWith('go')));
      const ttl = 2 + below(2);
      const taken = await ask('lock', key, { ttl, poll_ms: 100, timeout_ms: 3000 });
      if (taken.error) continue;
      const belief = { who: `go ${number}`, key, from: nowUs(), until: until(taken.record), ended: Infinity, token: 0 };
      this.go.beliefs.push(belief);
      const rest = () => belief.until - nowUs() - 500_000;
      for (let renewals = below(4); renewals > 0; renewals--) {
        await sleep(Math.max(0, Math.min(rest() / 1000, 500)));
        const renewed = rest() > 0 ? await ask('renew', key, { ttl }) : { error: 'too late' };
        if (renewed.error) break;
        belief.until = until(renewed.record);
        belief.renewed = true;
      }
      await sleep(random() * 100);
      if (random() < 0.2 || rest() < 0) {
        this.go.crashes += 1;
        continue;
      }
      belief.ended = nowUs();
      await ask('unlock', key);
    }
  }

  async end() {
    for (const contender of this.running) contender.child.stdin.end();
    const limit = setTimeout(() => {
      for (const contender of this.running) {
        this.problems.push(`${contender.who} does not end`);
        contender.child.kill('SIGKILL');
      }
    }, LIMIT_MS);
    await Promise.all(this.running.map(contender => contender.exited));
    clearTimeout(limit);
  }

  async run(minutes, goControls) {
    const end = nowUs() + minutes * 60e6;
    CONTENDERS.forEach(kind => this.start(kind));
    const goClients = goControls.map((control, number) => this.goClient(number, control, end));
    await Promise.all([this.stopper(end), this.stopper(end), this.killer(end), ...goClients]);
    await this.end();
  }

  async faults() {
    const counts = {};
    for (const { proxy } of Object.values(this.fronts)) {
      const { faults, violations, total } = await this.control.ask({ cmd: 'counts', proxy });
      for (const [name, count] of Object.entries(faults)) counts[name] = (counts[name] ?? 0) + count;
      this.problems.push(...violations.map(text => `violation: ${text}`));
      this.requests = (this.requests ?? 0) + total;
    }
    return counts;
  }

  logs() {
    const ours = this.ended.map(({ who, log, killedAt }) => ({
      ...readLog(existsSync(log) ? readFileSync(log, 'utf8') : '', { who, killedAt }), who, killed: killedAt !== undefined,
    }));
    const goBeliefs = { who: 'go', beliefs: this.go.beliefs, waits: [], writes: [], freed: [], counts: {}, killed: true };
    return [...ours, goBeliefs];
  }
}

const line = (name, value) => process.stdout.write(`${name.padEnd(28)} ${value}\n`);
const ms = us => `${Math.round(us / 1000)} ms`;

// What contenders that came to their end have left behind.
function leaks(logs, problems) {
  const worst = { descriptors: 0, threads: 0, memory: 0, close: 0 };
  for (const { who, counts, killed } of logs) {
    if (killed) continue;
    const grown = name => counts[`${name}-after`] - counts[`${name}-before`];
    worst.descriptors = Math.max(worst.descriptors, grown('descriptors'));
    worst.threads = Math.max(worst.threads, grown('threads'));
    worst.close = Math.max(worst.close, counts['close-ms']);
    if (who.includes('release')) worst.memory = Math.max(worst.memory, grown('memory-kb'));
    if (grown('descriptors') !== 0 || grown('threads') !== 0) problems.push(`${who} leaves descriptors or threads`);
    if (!(counts['close-ms'] <= CLOSE_MAX_MS)) problems.push(`${who}: close took ${counts['close-ms']} ms`);
  }
  return worst;
}

function report(arena, verdict, faults, logs) {
  const sum = name => logs.reduce((total, { counts }) => total + (counts[name] ?? 0), 0);
  const worst = leaks(logs, arena.problems);
  line('server, seed', `${server}, ${options.seed}`);
  line('requests', arena.requests);
  line('tenures', `${verdict.tenures} (Go: ${arena.go.beliefs.length}; renewed: ${verdict.renewed})`);
  line('contenders, kills, stops', `${arena.started}, ${arena.kills}, ${arena.stops.length}; Go crashes ${arena.go.crashes}`);
  line('writes, refused as stale', `${verdict.writes}, ${verdict.stale}`);
  line('taken over, adopted (at end)', `${sum('taken-over')}, ${sum('adopted')}`);
  line('two at once', verdict.overlaps.length);
  line('tokens out of order', verdict.disorders.length);
  line('holders refused', verdict.refused.length);
  line('longest wait for a free lock', `${ms(verdict.longestGap.us)} (bound ${BOUND_MS} ms)`);
  line('left: descriptors, threads', `${worst.descriptors}, ${worst.threads}; memory ${worst.memory} KB; close ${worst.close} ms`);
  line('faults', JSON.stringify(faults));
}

function conclude(arena, verdict, faults) {
  const { problems } = arena;
  const show = (name, list) => problems.push(...list.slice(0, 5).map(each => `${name}: ${JSON.stringify(each)}`));
  show('two at once', verdict.overlaps);
  show('tokens out of order', verdict.disorders);
  show('a holder was refused', verdict.refused);
  show('left waiting', verdict.leftWaiting);
  if (verdict.tenures < Number(options.tenures)) problems.push(`only ${verdict.tenures} tenures`);
  for (const { do: name, as = name } of [...RATES, ...DATES]) {
    if ((faults[as] ?? 0) < Number(options.faults)) problems.push(`only ${faults[as] ?? 0} times ${as}`);
  }
  for (const problem of problems) process.stdout.write(`WRONG ${problem}\n`);
  return problems.length === 0;
}

async function main() {
  if (!FAKETIME) throw new Error('libfaketime is not there');
  const rig = options.rig ? null : await startRig(server);
  const controls = [];
  for (let count = 0; count <= GO_CLIENTS; count++)
    controls.push(await connectRig(rig?.ports.control ?? Number(options.rig)));
  const [control, ...goControls] = controls;
  const folder = mkdtempSync(join(tmpdir(), 'dynalock-soak-'));
  const arena = new Arena(control, folder);
  try {
    await arena.open();
    await arena.run(Number(options.minutes), goControls);
    const faults = await arena.faults();
    const logs = arena.logs();
    const verdict = judge(logs, { isOrdered, bound: BOUND_MS * 1000, stops: arena.stops });
    report(arena, verdict, faults, logs);
    const good = conclude(arena, verdict, faults);
    if (good) rmSync(folder, { recursive: true });
    else process.stdout.write(`the logs are in ${folder}\n`);
    process.exitCode = good ? 0 : 1;
  } finally {
    for (const contender of arena.running) contender.child.kill('SIGKILL');
    for (const each of controls) each.close();
    await rig?.stop();
  }
}

await main();
