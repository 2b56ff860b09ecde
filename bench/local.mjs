// SPDX-License-Identifier: Apache-2.0
// What `make bench-local` runs: 2,000 locks held for three leases on DynamoDB Local. LOCKS, SERVER (local, dynalite).
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { startServers } from '../test/rig/servers.mjs';

const ROOT = resolve(fileURLToPath(import.meta.url), '../..');
const LATEST = 0.1; // of the lease
const server = process.env.SERVER ?? 'local';

function fail(message) {
  process.stderr.write(`bench: ${message}\n`);
  process.exit(1);
}

const servers = await startServers([server], fail);
try {
  const env = { ...process.env, BENCH_URL: `http://127.0.0.1:${servers[server].port}/` };
  const child = spawn(`${ROOT}/build/bench/scale`, ['table'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'close');
  for await (const line of createInterface({ input: child.stdout })) {
    const told = JSON.parse(line);
    for (const [name, value] of Object.entries(told)) process.stdout.write(`${name.padEnd(16)} ${value}\n`);
    const ok = told.lost === 0 && told.renewals_failed === 0 && told.latest <= LATEST;
    process.stdout.write(`${ok ? 'ok' : 'MISSED'}: none lost, no renewal failed, none later than ${LATEST} of the lease\n`);
    process.exitCode = ok ? 0 : 1;
  }
  const [status] = await ended;
  if (status !== 0) process.exitCode = 1;
} finally {
  await servers.stop();
}
