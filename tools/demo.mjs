// SPDX-License-Identifier: Apache-2.0
// Starts dynalite on a free port of 127.0.0.1, and on it the example that shows competing consumers. Ends with its
// status. dynalite ends when this process does, however that happens; so do the example's processes with the example.
import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';

// In a process group of its own: at Ctrl-C it is there until the example has released its locks.
const server = fork('test/rig/dynalite.mjs', { detached: true, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
const ended = once(server, 'exit').then(() => [null]);
const [ready] = await Promise.race([once(server, 'message'), ended]);
if (!ready) {
  console.error('demo: dynalite did not start');
  process.exit(1);
}
const endpoint = `http://127.0.0.1:${ready.port}`;
console.log(`dynalite, a server that speaks DynamoDB's protocol, listens at ${endpoint}\n`);

const env = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^AWS_|_proxy$/i.test(name)),
);
const example = spawn('build/release/examples/competing-consumers', {
  stdio: ['ignore', 'inherit', 'inherit'],
  env: {
    ...env,
    AWS_ENDPOINT_URL_DYNAMODB: endpoint,
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'demo',
    AWS_SECRET_ACCESS_KEY: 'demo',
  },
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => example.kill(signal));
example.on('error', error => {
  console.error(`demo: ${error.message}`);
  process.exit(1);
});
const [status] = await once(example, 'exit');
if (server.connected) server.disconnect();
process.exitCode = status ?? 1;
