// SPDX-License-Identifier: Apache-2.0
// A thread of command_support.mjs: tells when FIFOs begin and end, whatever keeps the tests' own thread busy.
// In: { id, path }; out: { id, text } at the first line, then { id, ended: CLOCK_MONOTONIC }.
import { closeSync, constants, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { setPriority } from 'node:os';
import { parentPort } from 'node:worker_threads';

const monotonicMs = () => Number(process.hrtime.bigint() / 1000n) / 1000;

try {
  setPriority(0, -10); // this thread's
} catch { /* it is not allowed: what is measured may be too late */ }

parentPort.on('message', ({ id, path }) => {
  const socket = new Socket({ fd: openSync(path, constants.O_RDONLY | constants.O_NONBLOCK), writable: false });
  const open = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK); // or it would end before it began
  socket.once('data', data => {
    closeSync(open);
    parentPort.postMessage({ id, text: data.toString().trim() });
  });
  socket.once('end', () => parentPort.postMessage({ id, ended: monotonicMs() }));
});
