// SPDX-License-Identifier: Apache-2.0
//
// The signer against two others: random requests from a fixed seed, signed by the library (through
// the program that DYNALOCK_SIGNER_TOOL names), by @smithy/signature-v4 (AWS's own, in its
// JavaScript SDK) and by aws4. Canonical request and signature must be equal, byte for byte.
//
// Both judges sign every case but those that one of them cannot, by a fault or a limit of its own.
// What is therefore kept out of the generated requests, put differently to a judge, or left to one
// judge:
//
//  1. Headers that the signers disagree on signing: each judge is told the library's list through
//     its own options (smithy leaves out cache-control, from, referer, sec-* and more; aws4 leaves
//     out range but signs te, proxy-*).
//  2. `date`: smithy takes it out of every request. Never generated.
//  3. One value per header name: both judges take headers as an object. What is repeated, in
//     whatever case, is given to them under its first spelling, joined with commas in order of
//     arrival, each value trimmed of outer white space (both fold what is inside); AWS trims each
//     value, the judges only the whole.
//  4. White space beyond space, tab and folded lines in header values: aws4 folds Unicode's too,
//     AWS and smithy do not. No such characters are generated; nor other control characters, which
//     the library refuses.
//  5. A literal `+` in a query: aws4 decodes it to a space as in a form; AWS's SDKs take it for a
//     plus. The judges are given `%2B`, so that canonical requests have `%2B` for both. A `%` that
//     begins no escape is taken for itself by all; but with raw UTF-8 in the same query Node's own
//     decoders, which read the query for both judges, garble that, and then the judges are given
//     `%25`.
//  6. Paths and queries with characters that no URL has as they are (spaces, UTF-8, quotes, ...),
//     as in AWS's own test suite: aws4 would percent-encode them before signing (thus twice), and
//     chokes if a lone `%` is there as well. It is then given path and query already split, past
//     its own URL parser; its canonical form is its own still.
//  7. Query keys that are empty (`?=v`): aws4 drops them, AWS's SDKs do not. Judged by smithy
//     alone.
//  8. Percent-escapes in a query that are no UTF-8: JavaScript strings cannot hold them. Not
//     generated. X-Amz-Signature as a query key, which smithy drops, is not generated either.
//  9. S3's rule (path neither normalised nor encoded again): smithy takes the path as it is; aws4
//     decodes and encodes it again, with `+` for a space and `%2F` for a slash, and signs only the
//     first value of a repeated query key; it is also the rule for the service named "s3" alone. So
//     such cases have service "s3", a path in canonical encoding without `%2F`, and no query key
//     twice; and, as S3 wants it, an x-amz-content-sha256 header.
// 10. Keeping segments while encoding, or the other way round: neither judge can. The first is
//     judged by AWS's suite in unit_sigv4.c; no service asks for the second.
// 11. `host` and `x-amz-content-sha256` in mixed case: aws4 knows two spellings of each and is
//     given one of them.
// 12. Service "s3" without its rule, and the services that aws4 renames ("email") are not
//     generated.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { parse as parseQuery } from 'node:querystring';
import { test } from 'node:test';
import awsCrypto from '@aws-crypto/sha256-js';
import smithy from '@smithy/signature-v4';
import aws4 from 'aws4';
import { randomSource, times } from './random.mjs';
import { askTool } from './tool.mjs';

const SEED = 0x5193a4;
const CASES = 3000;
const NEVER_SIGNED = ['authorization', 'connection', 'expect', 'keep-alive', 'te', 'trailer',
  'transfer-encoding', 'upgrade', 'user-agent', 'x-amzn-trace-id', 'proxy-authorization',
  'proxy-connection', 'proxy-x'];
const SIGNED_THOUGH_A_JUDGE_WOULD_NOT = ['cache-control', 'from', 'max-forwards', 'pragma',
  'referer', 'sec-ch-ua', 'sec-fetch-mode', 'presigned-expires', 'range'];
// Taken by aws4 as they are; with others it decodes and encodes the whole of path and query (6).
const URL_CHARACTERS = /^[0-9A-Za-z;,/?:@&=+$\-_.!~*'()#%]*$/;

const { below, chance, pick } = randomSource(SEED);
const text = (characters, least, most) => times(
  least + below(most - least + 1),
  () => pick(characters),
).join('');

const ALPHANUMERIC = [...'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'];
const BASE64 = [...ALPHANUMERIC, '/', '+', '='];
const UTF8 = ['é', 'ß', 'ሴ', '日', '本', '🔒', 'я', '\u{10348}'];
const URL_SAFE = [...ALPHANUMERIC, ...'-._~', ...'!$\'()*,;:@'];
const UNSAFE = [' ', '"', '<', '>', '[', ']', '^', '`', '{', '|', '}', '\\', ...UTF8];
const ESCAPES = ['%20', '%2B', '%2b', '%2F', '%2f', '%25', '%3D', '%3d', '%26', '%41', '%7E', '%7e',
  '%00', '%0A', '%C3%A9', '%e1%88%b4', '%2E', '%252F', '%2525'];
const BROKEN_ESCAPES = ['%', '%%', '%zz', '%2', '%G1', '%1G'];

function pathSegment(raw) {
  return pick([
    () => '', () => '.', () => '..', () => pick(['...', '..a', '.hidden', 'a.', '%2e%2e', '%2E']),
    () => text(ALPHANUMERIC, 1, 8), () => text(ALPHANUMERIC, 1, 8), () => text(URL_SAFE, 1, 12),
    () => text([...URL_SAFE, '+', '&', '='], 1, 6) + pick(ESCAPES) + text(URL_SAFE, 0, 4),
    () => pick(BROKEN_ESCAPES) + text(ALPHANUMERIC, 0, 3),
    () => (raw ? text([...UNSAFE, ...ALPHANUMERIC], 1, 6) : text(ALPHANUMERIC, 1, 3)),
  ])();
}

function randomPath() {
  if (chance(0.15)) {
    return '/';
  }
  const raw = chance(0.5);
  return `/${times(1 + below(7), () => pathSegment(raw)).join('/')}${chance(0.3) ? '/' : ''}`;
}

function s3Encode(s) {
  const hex = (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`;
  return encodeURIComponent(s).replace(/[!'()*]/g, hex);
}

function randomS3Path() {
  const characters = [...URL_SAFE, ...UNSAFE, '+', '%', '&', '='];
  const name = () => s3Encode(text(characters, 1, 8));
  const segment = () => pick(['', '.', '..', name(), name()]);
  return `/${times(below(6), segment).join('/')}`;
}

function queryText(raw) {
  const escapes = [...ESCAPES, ...ESCAPES];
  const characters = [...URL_SAFE, '+', '+', '?', '/', ...escapes, ...(raw ? UNSAFE : [])];
  return text(characters, 1, 6) + (chance(0.1) ? pick(BROKEN_ESCAPES) : '');
}

function randomQuery(once) {
  if (chance(0.25)) {
    return pick([null, '']);
  }
  const raw = chance(0.4);
  const near = ['a', 'a-b', 'A', 'a%20', 'a.b', 'aa'];
  const keys = times(1 + below(4), () => queryText(raw)).concat(near);
  const tail = () => (chance(0.2) ? `=${queryText(raw)}` : '');
  const value = () => (chance(0.2) ? '' : queryText(raw) + tail());
  const full = () => `${pick(keys)}=${value()}`;
  const keyless = () => (chance(0.3) ? `=${value()}` : pick(keys));
  const odd = () => pick(['', pick(keys), `${pick(keys)}=`, keyless()]);
  const pair = () => (chance(0.5) ? full() : odd());
  const query = times(1 + below(7), pair).join('&');
  return once && hasKeyTwice(query) ? 'only=1' : query;
}

// As the judges are told it (5).
function judgesQuery(query) {
  const plain = (query ?? '').replaceAll('+', '%2B');
  return /^[\x00-\x7f]*$/.test(plain) ? plain : plain.replace(/%(?![0-9A-Fa-f]{2})/g, '%25');
}

const hasKeyTwice = (query) => Object.values(parseQuery(judgesQuery(query))).some(Array.isArray);
const hasEmptyKey = (query) => Object.hasOwn(parseQuery(judgesQuery(query)), '');

const mixCase = (name) => [...name].map((c) => (chance(0.3) ? c.toUpperCase() : c)).join('');
const FOLDS = ['\r\n ', '\r\n\t', '\n ', '\n\t\t', '\r\n    '];

function whiteSpace() {
  return chance(0.5) ? text([' ', '\t'], 1, 6) : pick(FOLDS) + text([' ', '\t'], 0, 3);
}

function headerValue() {
  const word = () => text([...URL_SAFE, ...'"#%&+/<=>?[]^`{|}\\', ...UTF8], 1, 10);
  const outer = () => (chance(0.3) ? whiteSpace() : '');
  const inner = () => (chance(0.5) ? ' ' : whiteSpace());
  return outer() + times(below(5), (i) => (i === 0 ? word() : inner() + word())).join('') + outer();
}

function headerName() {
  return pick([
    () => pick(['x-amz-target', 'content-type', 'content-length', 'accept', 'x-amz-meta', 'x-amz']),
    () => pick(['my-header', 'my-header1', 'my-header-1', 'my-head', 'my', 'my_header']),
    () => pick(["my!#$%&'*+.^`|~header", 'x', 'X']),
    () => pick(SIGNED_THOUGH_A_JUDGE_WOULD_NOT),
    () => pick(NEVER_SIGNED),
    () => `x-${text([...'abc-'], 0, 4)}`,
    () => pick(['proxy', 'prox', 'proxy_x', 'expect1', 'user-agent2', 'te2']),
    () => pick(['hosts', 'hos', 'x-amz-dat', 'x-amz-date2']),
  ])();
}

function shuffle(list) {
  for (let i = list.length - 1; i > 0; i--) {
    const j = below(i + 1);
    [list[i], list[j]] = [list[j], list[i]];
  }
  return list;
}

function randomHeaders(c, s3) {
  const names = times(below(9), headerName);
  const headers = names.map((name) => [mixCase(name), headerValue()]);
  if (names.length > 0 && chance(0.4)) {
    headers.push(...times(1 + below(3), () => [mixCase(pick(names)), headerValue()]));
  }
  const hosts = ['dynamodb.us-east-1.amazonaws.com', 'localhost:8000', '[::1]:8000', 'example.com'];
  headers.push([mixCase('host'), pick(hosts)]);
  if (chance(0.2)) {
    headers.push([mixCase('x-amz-date'), timestamp(c.time)]);
  }
  if (c.session_token && chance(0.3)) {
    headers.push([mixCase('x-amz-security-token'), c.session_token]);
  }
  if (s3 || chance(0.15)) {
    const hash = createHash('sha256').update(Buffer.from(c.body, 'base64')).digest('hex');
    headers.push([mixCase('x-amz-content-sha256'), pick([hash, 'UNSIGNED-PAYLOAD'])]);
  }
  return shuffle(headers);
}

function randomBody() {
  const length = pick([0, 0, 1, 2, 55, 56, 63, 64, 65, 515, below(4096)]);
  return Buffer.from(times(length, () => below(256))).toString('base64');
}

const timestamp = (seconds) => new Date(seconds * 1000).toISOString().replace(/[-:]|\.\d{3}/g, '');
const LEAP_DAYS = [951782400, 1709164800, 4107542399, 253402300799, 0, 68169600, 1440938160];

function randomCase() {
  const s3 = chance(0.12);
  const c = {
    method: pick(['POST', 'POST', 'GET', 'PUT', 'DELETE', 'HEAD', 'PATCH', 'OPTIONS', 'M-SEARCH']),
    path: s3 ? randomS3Path() : randomPath(),
    query: randomQuery(s3),
    body: randomBody(),
    access_key_id: pick(['AKIDEXAMPLE', 'AKIAIOSFODNN7EXAMPLE', 'local']),
    secret_access_key: pick(['wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY', 'é🔒', text(BASE64, 1, 90)]),
    session_token: chance(0.5) ? text(BASE64, 1, 400) : pick([null, '']),
    region: pick(['us-east-1', 'eu-central-1', 'local', text(ALPHANUMERIC, 1, 20)]),
    service: s3 ? 's3' : pick(['dynamodb', 'sts', 'portal.sso', `x${text(ALPHANUMERIC, 1, 12)}`]),
    time: chance(0.2) ? pick(LEAP_DAYS) : below(chance(0.5) ? 4102444800 : 253402300800),
    keep_segments: s3,
    keep_encoding: s3,
  };
  c.headers = randomHeaders(c, s3);
  return c;
}

// One value for each name (3).
function judgesHeaders(headers) {
  const joined = new Map();
  for (const [name, value] of headers) {
    const trimmed = value.replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, '');
    const known = joined.get(name.toLowerCase());
    joined.set(name.toLowerCase(), known ? [known[0], `${known[1]},${trimmed}`] : [name, trimmed]);
  }
  return Object.fromEntries(joined.values());
}

function without(headers, ...names) {
  const kept = Object.entries(headers).filter(([name]) => !names.includes(name.toLowerCase()));
  return Object.fromEntries(kept);
}

async function smithySign(c) {
  const query = {};
  for (const [key, value] of new URLSearchParams(`?${judgesQuery(c.query)}`)) {
    (query[key] ??= []).push(value);
  }
  const signer = new smithy.SignatureV4({
    credentials: {
      accessKeyId: c.access_key_id,
      secretAccessKey: c.secret_access_key,
      sessionToken: c.session_token || undefined,
    },
    region: c.region,
    service: c.service,
    sha256: awsCrypto.Sha256,
    applyChecksum: false,
    uriEscapePath: !c.keep_encoding,
  });
  const create = signer.createCanonicalRequest.bind(signer);
  let canonical;
  signer.createCanonicalRequest = (...given) => (canonical = create(...given));
  const signed = await signer.sign({
    method: c.method,
    protocol: 'https:',
    hostname: 'unused',
    path: c.path,
    query,
    headers: without(judgesHeaders(c.headers), 'x-amz-security-token', 'x-amz-date'),
    body: Buffer.from(c.body, 'base64'),
  }, {
    signingDate: new Date(c.time * 1000),
    unsignableHeaders: new Set(NEVER_SIGNED),
    signableHeaders: new Set(SIGNED_THOUGH_A_JUDGE_WOULD_NOT),
  });
  return { canonical, authorization: signed.headers.authorization };
}

// (11)
function aws4Headers(c) {
  const headers = {};
  for (const [name, value] of Object.entries(judgesHeaders(c.headers))) {
    const lower = name.toLowerCase();
    headers[['host', 'x-amz-content-sha256'].includes(lower) ? lower : name] = value;
  }
  return without(headers, 'x-amz-date', 'x-amz-security-token');
}

const needsSplitting = (c) => !URL_CHARACTERS.test(c.path + judgesQuery(c.query));
const asSet = (names) => Object.fromEntries(names.map((name) => [name, true]));

function aws4Sign(c) {
  const query = judgesQuery(c.query);
  const headers = aws4Headers(c);
  headers['X-Amz-Date'] = timestamp(c.time);
  if (c.session_token) {
    headers['X-Amz-Security-Token'] = c.session_token;
  }
  const signer = new aws4.RequestSigner({
    method: c.method,
    path: query === '' ? c.path : `${c.path}?${query}`,
    headers,
    body: Buffer.from(c.body, 'base64'),
    service: c.service,
    region: c.region,
    doNotModifyHeaders: true,
    extraHeadersToIgnore: asSet(NEVER_SIGNED),
    extraHeadersToInclude: asSet(SIGNED_THOUGH_A_JUDGE_WOULD_NOT),
  }, { accessKeyId: c.access_key_id, secretAccessKey: c.secret_access_key });
  signer.datetime = timestamp(c.time);
  if (needsSplitting(c)) {
    signer.parsePath = function parsePath() {
      this.parsedPath = { path: c.path, query: query === '' ? null : parseQuery(query) };
    };
  }
  signer.prepareRequest();
  return { canonical: signer.canonicalString(), authorization: signer.authHeader() };
}

function signWithTool(cases) {
  const path = process.env.DYNALOCK_SIGNER_TOOL;
  assert.ok(path, 'DYNALOCK_SIGNER_TOOL must name the built signer_tool');
  return askTool(path, cases);
}

const signatureOf = (authorization) => /Signature=([0-9a-f]{64})$/.exec(authorization)?.[1];

function compare(c, answer, judge, judged, i) {
  const shown = JSON.stringify({ ...c, body: `${c.body.length} characters` });
  const told = `case ${i} of seed ${SEED}, against ${judge}: ${shown}`;
  assert.equal(answer.canonical, judged.canonical, `canonical request differs: ${told}`);
  assert.equal(answer.authorization, judged.authorization, `Authorization differs: ${told}`);
  assert.match(signatureOf(answer.authorization), /^[0-9a-f]{64}$/);
}

test('canonical request and signature equal those of smithy and aws4', async (t) => {
  const cases = times(CASES, randomCase);
  const answers = await signWithTool(cases);
  const total = { both: 0, smithy: 0, aws4: 0, split: 0 };

  assert.equal(answers.length, cases.length);
  for (const [i, c] of cases.entries()) {
    assert.equal(answers[i].status, 0, `case ${i} of seed ${SEED} refused: ${JSON.stringify(c)}`);
    assert.equal(answers[i].timestamp, timestamp(c.time));
    compare(c, answers[i], 'smithy', await smithySign(c), i);
    total.smithy++;
    if (!hasEmptyKey(c.query)) {
      compare(c, answers[i], 'aws4', aws4Sign(c), i);
      total.aws4++;
      total.split += needsSplitting(c);
      total.both++;
    }
  }
  t.diagnostic(`${CASES} requests signed; judged by smithy: ${total.smithy}, `
    + `by aws4: ${total.aws4} (past its URL parser: ${total.split}), by both: ${total.both}`);
  assert.ok(total.both >= 2000, 'too few requests judged by both');
});

test('an unsignable request is refused, and the next one signed', async () => {
  const good = { ...randomCase(), headers: [['host', 'h']] };
  const answers = await signWithTool([
    { ...good, headers: [] }, good, { ...good, region: 'a/b' }, { ...good, time: -1 },
  ]);
  assert.deepEqual(answers.map((answer) => answer.status), [-2, 0, -2, -2]);
});
