// SPDX-License-Identifier: Apache-2.0
// usage: node tools/with-dynalite.mjs PROGRAM [ARGUMENT...]
// Starts dynalite on a free port of 127.0.0.1, and the program with an environment that leads it there. Ends with
// its status. dynalite ends when this process does, however that happens.
import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const DYNALITE = fileURLToPath(new URL('../test/rig/dynalite.mjs', import.meta.url));

// In a process group of its own: at Ctrl-C it is there until the program has released its locks.
const server = fork(DYNALITE, { detached: true, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
const ended = once(server, 'exit').then(() => [null]);
const [ready] = await Promise.race([once(server, 'message'), ended]);
if (!ready) {
  console.error('dynalite did not start');
  process.exit(1);
}
const endpoint = `http://127.0.0.1:${ready.port}`;
console.log(`dynalite, a server that speaks DynamoDB's protocol, listens at ${endpoint}\n`);

const env = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^AWS_|_proxy$/i.test(name)),
);
const [file, ...args] = process.argv.slice(2);
const program = spawn(file, args, {
  stdio: 'inherit',
  env: {
    ...env,
    AWS_ENDPOINT_URL_DYNAMODB: endpoint,
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'demo',
    AWS_SECRET_ACCESS_KEY: 'demo',
  },
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => program.kill(signal));
program.on('error', error => {
  console.error(error.message);
  process.exit(1);
});
const [status] = await once(program, 'exit');
if (server.connected) server.disconnect();
process.exitCode = status ?? 1;
