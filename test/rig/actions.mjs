// SPDX-License-Identifier: Apache-2.0
// What a fault does: one function each, given the exchange and the action's own settings.
// exchange.origin() judges the request, hands it to the server and gives the answer; it may be called twice or never.
// Then exactly one of send, cut, close, reset or nothing (the client waits).
import { setTimeout as sleep } from 'node:timers/promises';
import { ownAnswer, setBody, setHeader } from './answer.mjs';

async function drop(exchange) {
  await exchange.origin();
  exchange.close();
}

async function dropBefore(exchange) {
  exchange.close();
}

async function reset(exchange, { when = 'after' }) {
  if (when === 'after') await exchange.origin();
  exchange.reset();
}

async function delay(exchange, { ms = 100, where = 'answer' }) {
  if (where === 'request') await sleep(ms);
  const answer = await exchange.origin();
  if (where === 'answer') await sleep(ms);
  exchange.send(answer);
}

async function hold(exchange, { where = 'answer' }) {
  if (where === 'request') await exchange.held();
  const answer = await exchange.origin();
  if (where === 'answer') await exchange.held();
  exchange.send(answer);
}

async function blackhole(exchange, { forward = false }) {
  if (forward) await exchange.origin();
}

async function status(exchange, action) {
  if (action.forward) await exchange.origin();
  const type = action.type ?? 'com.amazon.coral.service#InternalServerError';
  const body = action.body ?? { __type: type, message: action.message ?? 'an error made by the test rig' };
  exchange.send(ownAnswer(action.status ?? 500, body, action.headers));
}

async function throttle(exchange, { type = 'ProvisionedThroughputExceededException', ...rest }) {
  const message = 'The level of configured provisioned throughput for the table was exceeded.';
  await status(exchange, { status: 400, message, ...rest, type: `com.amazonaws.dynamodb.v20120810#${type}` });
}

async function truncate(exchange, { bytes }) {
  const answer = await exchange.origin();
  exchange.cut(answer, bytes ?? Math.floor(answer.body.length / 2));
}

async function wrongCrc(exchange) {
  const answer = await exchange.origin();
  setBody(answer, answer.body);
  setHeader(answer, 'x-amz-crc32', (Number(answer.headers['x-amz-crc32']) ^ 1) >>> 0);
  exchange.send(answer);
}

async function noCrc(exchange) {
  const answer = await exchange.origin();
  setHeader(answer, 'x-amz-crc32', null);
  exchange.send(answer);
}

async function rewrite(exchange, action) {
  const answer = await exchange.origin();
  if (action.status !== undefined) answer.status = action.status;
  if (action.body !== undefined) setBody(answer, action.body);
  for (const [name, value] of Object.entries(action.headers ?? {})) setHeader(answer, name, value);
  for (const name of action['remove-headers'] ?? []) setHeader(answer, name, null);
  exchange.send(answer);
}

async function date(exchange, { offset_ms: offset = null }) {
  const answer = await exchange.origin();
  setHeader(answer, 'Date', offset === null ? null : new Date(Date.now() + offset).toUTCString());
  exchange.send(answer);
}

async function twice(exchange, { answer = 'second' }) {
  const first = await exchange.origin();
  const second = await exchange.origin();
  exchange.send(answer === 'first' ? first : second);
}

async function late(exchange, { ms = 1000 }) {
  exchange.close();
  await sleep(ms);
  await exchange.origin();
}

// The answer is whole and promises to keep the connection; then the connection goes.
async function closeAfter(exchange) {
  exchange.send(await exchange.origin(), () => exchange.close());
}

async function trickle(exchange, { ms = 50, bytes = 1 }) {
  const answer = await exchange.origin();
  await exchange.trickle(answer, bytes, () => sleep(ms));
}

async function garbage(exchange, { text = 'this is no HTTP\r\n\r\n' }) {
  exchange.raw(text);
}

export const ACTIONS = {
  drop,
  'drop-before': dropBefore,
  reset,
  delay,
  hold,
  blackhole,
  status,
  throttle,
  truncate,
  'wrong-crc': wrongCrc,
  'no-crc': noCrc,
  rewrite,
  date,
  twice,
  late,
  'close-after': closeAfter,
  trickle,
  garbage,
};
