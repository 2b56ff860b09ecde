// SPDX-License-Identifier: Apache-2.0
// An answer on its way to the client: { status, headers, body }, and what may be done to it.
import { randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';

const ID_LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789';

export function setHeader(answer, name, value) {
  for (const known of Object.keys(answer.headers)) {
    if (known.toLowerCase() === name.toLowerCase()) delete answer.headers[known];
  }
  if (value !== null && value !== undefined) answer.headers[name] = String(value);
}

// A body that is text is sent as it stands, anything else as JSON; the checksum follows it.
export function setBody(answer, value) {
  const text = Buffer.isBuffer(value) || typeof value === 'string' ? value : JSON.stringify(value);
  answer.body = Buffer.from(text);
  setHeader(answer, 'x-amz-crc32', crc32(answer.body));
}

function requestId() {
  return Array.from(randomBytes(52), byte => ID_LETTERS[byte % ID_LETTERS.length]).join('');
}

// An answer of the proxy's own, in the service's form.
export function ownAnswer(status, body, headers = {}) {
  const answer = { status, headers: {}, body: null };
  setHeader(answer, 'Server', 'Server');
  setHeader(answer, 'Content-Type', 'application/x-amz-json-1.0');
  setHeader(answer, 'x-amzn-RequestId', requestId());
  setBody(answer, body);
  for (const [name, value] of Object.entries(headers)) setHeader(answer, name, value);
  return answer;
}

// A server's answer, with what that server leaves out and the service sends.
export function serverAnswer(response, body) {
  const answer = { status: response.statusCode, headers: {}, body };
  setHeader(answer, 'Server', 'Server');
  setHeader(answer, 'Date', response.headers.date);
  setHeader(answer, 'Content-Type', response.headers['content-type']);
  setHeader(answer, 'x-amzn-RequestId', response.headers['x-amzn-requestid'] ?? requestId());
  setHeader(answer, 'x-amz-crc32', response.headers['x-amz-crc32'] ?? crc32(body));
  return answer;
}

export function parsed(bytes) {
  const text = bytes.toString('utf8');
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
