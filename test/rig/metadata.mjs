// SPDX-License-Identifier: Apache-2.0
// The services that hand out credentials, as strict as the real ones: a container's endpoint, instance metadata
// (version 2 alone), STS and the SSO portal, on one listener. A Proxy with no server behind it: faults, counts, log
// and violations are those. What a client must never send is a violation; what a service merely refuses is not.
//
// SETTINGS, all optional, at any time:
//   "lifetime_s":3600                     of what is handed out; new credentials each time
//   "fixed":{"id","secret","token"}       always these
//   "secrets","tokens"                    who may ask STS, besides those who have what was handed out here
//   "container":{"path":"/creds","authorization":TEXT|null}
//   "role":"rig-role"|null                of the instance; null: it has none
//   "region":"us-east-1"                  of the instance, and the one that STS is signed for
//   "token_ttl_s":21600                   of instance metadata's tokens, whatever was asked for
//   "assume":{"RoleArn":..,"ExternalId":..,...}  what AssumeRole must say
//   "identity":{"RoleArn":..,"WebIdentityToken":..,...}
//   "sso":{"token":..,"account_id":..,"role_name":..}
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import os from 'node:os';
import { Proxy } from './proxy.mjs';
import { judge } from './sign.mjs';

const STATE = {
  lifetime_s: 3600,
  fixed: null,
  container: { path: '/creds', authorization: null },
  role: 'rig-role',
  region: 'us-east-1',
  token_ttl_s: 21600,
  assume: {},
  identity: {},
  sso: { token: 'sso-token', account_id: '123456789012', role_name: 'rig' },
};
const ROLE_PATH = '/latest/meta-data/iam/security-credentials/';
const SIGNED = ['content-type', 'host', 'x-amz-date'];
const NEVER = ['x-forwarded-for', 'via', 'cookie', 'accept-encoding', 'expect', 'transfer-encoding', 'referer'];
const FORM = {
  AssumeRole: ['Action', 'Version', 'RoleArn', 'RoleSessionName', 'DurationSeconds', 'ExternalId'],
  AssumeRoleWithWebIdentity: ['Action', 'Version', 'RoleArn', 'RoleSessionName', 'WebIdentityToken', 'DurationSeconds'],
};

// ---- Addresses ----------------------------------------------------------------------------------

const taken = new Map(); // address → what its last taker waits for

function onlyLoopback() {
  return Object.keys(os.networkInterfaces()).every(name => name === 'lo');
}

// One at a time has a link-local address. → a function that gives it back.
export async function takeAddress(host) {
  if (!host?.startsWith('169.254.')) return () => {};
  if (!onlyLoopback()) throw new Error(`no network of our own: ${host} is somebody's`);
  const before = taken.get(host);
  let giveBack;
  taken.set(host, new Promise(done => (giveBack = done)));
  await before;
  try {
    execFileSync('ip', ['address', 'replace', `${host}/32`, 'dev', 'lo'], { stdio: 'pipe' });
  } catch (error) {
    giveBack();
    throw error;
  }
  return giveBack;
}

// ---- Answers ------------------------------------------------------------------------------------

function answer(status, body, headers = {}) {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const type = typeof body === 'string' ? 'text/plain' : 'application/json';
  return { status, headers: { Server: 'rig', 'Content-Type': type, ...headers }, body: Buffer.from(text) };
}

const escaped = text => text.replace(/[&<>"']/g, c => `&#x${c.charCodeAt(0).toString(16)};`);

function xml(status, text) {
  return answer(status, text, { 'Content-Type': 'text/xml' });
}

function stsError(status, code, message) {
  return xml(
    status,
    '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">\n  <Error>\n    <Type>Sender</Type>\n' +
      `    <Code>${escaped(code)}</Code>\n    <Message>${escaped(message)}</Message>\n  </Error>\n` +
      '  <RequestId>4a1f7d2c-0000-0000-0000-000000000000</RequestId>\n</ErrorResponse>\n',
  );
}

function stsAnswer(action, { id, secret, token, expires }) {
  return xml(
    200,
    `<${action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">\n  <${action}Result>\n` +
      '    <AssumedRoleUser>\n      <AssumedRoleId>AROARIG:x</AssumedRoleId>\n' +
      '      <Arn>arn:aws:sts::123456789012:assumed-role/rig/x</Arn>\n    </AssumedRoleUser>\n' +
      `    <Credentials>\n      <AccessKeyId>${id}</AccessKeyId>\n` +
      `      <SecretAccessKey>${escaped(secret)}</SecretAccessKey>\n` +
      `      <SessionToken>${escaped(token)}</SessionToken>\n` +
      `      <Expiration>${new Date(expires).toISOString()}</Expiration>\n    </Credentials>\n` +
      `  </${action}Result>\n  <ResponseMetadata>\n    <RequestId>5b-rig</RequestId>\n  </ResponseMetadata>\n` +
      `</${action}Response>\n`,
  );
}

function metadataJson({ id, secret, token, expires }, more = {}) {
  const seconds = new Date(expires).toISOString().replace(/\.\d+/, '');
  return answer(200, { ...more, AccessKeyId: id, SecretAccessKey: secret, Token: token, Expiration: seconds });
}

// ---- The fake -----------------------------------------------------------------------------------

function form(body) {
  const pairs = body
    .toString('latin1')
    .split('&')
    .map(pair => pair.split('=').map(part => (/^([\w.~-]|%[0-9A-F]{2})*$/.test(part) ? decodeURIComponent(part) : null)));
  return pairs.every(pair => pair.length === 2 && !pair.includes(null)) ? pairs : null;
}

export class Metadata extends Proxy {
  constructor(settings) {
    super({ port: 0 }, settings);
    this.handedOut = new Map();
    this.sessions = new Map();
    if (settings.host !== undefined) this.host = settings.host;
    if (this.host?.startsWith('169.254.')) this.port = 80;
  }

  set(settings) {
    super.set(settings);
    for (const [name, usual] of Object.entries(STATE)) this[name] = settings[name] ?? this[name] ?? usual;
    if (settings.role === null) this.role = '';
  }

  async close() {
    await super.close();
    this.giveBack?.();
  }

  // ---- Credentials ----

  // A subclass may want to know what for: issue(operation, headers, values).
  issue() {
    const text = length => randomBytes(length).toString('base64').replaceAll('=', 'x');
    const expires = Date.now() + this.lifetime_s * 1000;
    const { id, secret, token } = this.fixed ?? {
      id: `ASIA${randomBytes(8).toString('hex').toUpperCase()}`,
      secret: `HUSH${text(27)}`,
      token: `HUSH//${text(150)}`,
    };
    this.handedOut.set(id, { secret, token, expires });
    return { id, secret, token, expires };
  }

  issued() {
    return Object.fromEntries(this.handedOut ?? []);
  }

  keys() {
    return { ...super.keys(), ...this.issued() };
  }

  // ---- What was asked for ----

  operation({ method, path, headers, body }) {
    if (method === 'POST') return new URLSearchParams(body.toString('latin1')).get('Action') ?? '?';
    if (path === '/latest/api/token') return 'imds-token';
    if (path === ROLE_PATH) return 'imds-role';
    if (path.startsWith(ROLE_PATH)) return 'imds-credentials';
    if (path === '/latest/meta-data/placement/region') return 'imds-region';
    if (path.startsWith('/federation/credentials')) return 'sso';
    return headers['x-aws-ec2-metadata-token'] === undefined && path === this.container.path ? 'container' : '?';
  }

  objections(request) {
    const { headers, method, rawHeaders } = request;
    const op = this.operation(request);
    const names = rawHeaders.filter((_, index) => index % 2 === 0).map(name => name.toLowerCase());
    const host = this.port === 80 ? this.host : new RegExp(`^(127\\.0\\.0\\.1|localhost):${this.port}$`);
    const hostIsRight = typeof host === 'string' ? headers.host === host : host.test(headers.host);
    const allowed = {
      container: ['authorization'],
      'imds-token': ['x-aws-ec2-metadata-token-ttl-seconds', 'content-length'],
      sso: ['x-amz-sso_bearer_token'],
      AssumeRole: ['authorization', 'x-amz-date', 'x-amz-security-token', 'content-type', 'content-length'],
      AssumeRoleWithWebIdentity: ['content-type', 'content-length'],
    }[op] ?? ['x-aws-ec2-metadata-token'];
    const checks = [
      [op === '?', `${method} ${request.path} is nothing that is served`],
      [request.version !== '1.1', `HTTP version ${request.version}`],
      [names.length !== new Set(names).size, `a header is there twice: ${names}`],
      [!hostIsRight, `Host: ${headers.host}`],
      [!/^dynalock\/\d/.test(headers['user-agent'] ?? ''), `User-Agent: ${headers['user-agent']}`],
      [method !== (op === 'imds-token' ? 'PUT' : FORM[op] ? 'POST' : 'GET'), `method ${method}`],
      [method !== 'POST' && request.body.length > 0, 'a body that nobody asked for'],
      ...names.map(name => [
        NEVER.includes(name) || !['host', 'user-agent', 'connection', ...allowed].includes(name),
        `header ${name} is not to be sent`,
      ]),
      ...rawHeaders.map(text => [/[^\t\x20-\x7e]/.test(text), 'a header has a byte that is not ASCII']),
    ];
    const found = checks.filter(([bad]) => bad).map(([, text]) => text);
    return FORM[op] ? [...found, ...this.formObjections(op, request)] : found;
  }

  formObjections(op, { headers, body }) {
    const pairs = form(body);
    const names = pairs?.map(([name]) => name) ?? [];
    const values = Object.fromEntries(pairs ?? []);
    const checks = [
      [!pairs, 'the body is not a form in strict encoding'],
      [!/^application\/x-www-form-urlencoded(; charset=utf-8)?$/.test(headers['content-type'] ?? ''), 'Content-Type'],
      [headers['content-length'] !== String(body.length), 'Content-Length'],
      [names.length !== new Set(names).size, 'a parameter is there twice'],
      [names.some(name => !FORM[op].includes(name)), `a parameter that ${op} does not have: ${names}`],
      [values.Version !== '2011-06-15', `Version ${values.Version}`],
      [!/^[\w+=,.@-]{2,64}$/.test(values.RoleSessionName ?? ''), `RoleSessionName ${values.RoleSessionName}`],
    ];
    return checks.filter(([bad]) => bad).map(([, text]) => `${op}: ${text}`);
  }

  // ---- Answers ----

  async answer({ request, bad, op }) {
    if (bad.length) return answer(400, { code: 'Violation', message: bad.join('; ') });
    if (FORM[op]) return this.sts(op, request);
    if (op === 'container') return this.ofContainer(request);
    if (op === 'sso') return this.ofSso(request);
    if (op === 'imds-token') return this.ofToken(request);
    return this.ofInstance(op, request);
  }

  ofContainer({ headers }) {
    if ((headers.authorization ?? null) !== (this.container.authorization ?? null)) {
      return answer(401, { code: 'Unauthorized', message: `the token ${headers.authorization} is another's` });
    }
    return metadataJson(this.issue('container', headers), { RoleArn: 'arn:aws:iam::123456789012:role/rig' });
  }

  ofToken({ headers }) {
    const ttl = Number(headers['x-aws-ec2-metadata-token-ttl-seconds']);
    if (!Number.isInteger(ttl) || ttl < 1 || ttl > 21600) return answer(400, '');
    const token = `HUSH-${randomBytes(30).toString('base64')}`;
    const lifetime = Math.min(ttl, this.token_ttl_s);
    this.sessions.set(token, Date.now() + lifetime * 1000);
    return answer(200, token, { 'X-aws-ec2-metadata-token-ttl-seconds': lifetime });
  }

  ofInstance(op, { headers, path }) {
    const until = this.sessions.get(headers['x-aws-ec2-metadata-token']);
    if (until === undefined) this.violations.push(`${op}: no token, or one that was never given`);
    if (until === undefined || until <= Date.now()) return answer(401, '');
    if (op === 'imds-region') return answer(200, this.region);
    if (this.role === '' || (op === 'imds-credentials' && path !== ROLE_PATH + this.role)) return answer(404, '');
    if (op === 'imds-role') return answer(200, this.role);
    return metadataJson(this.issue('imds', headers), { Code: 'Success', Type: 'AWS-HMAC', LastUpdated: '2024-01-01T00:00:00Z' });
  }

  ofSso({ headers, path }) {
    const query = new URL(path, 'http://rig').searchParams;
    if (headers['x-amz-sso_bearer_token'] !== this.sso.token) {
      return answer(401, { message: 'Session token not found or invalid', __type: 'UnauthorizedException' });
    }
    if (query.get('account_id') !== this.sso.account_id || query.get('role_name') !== this.sso.role_name) {
      return answer(403, { message: 'No access', __type: 'ForbiddenException' });
    }
    const { id, secret, token, expires } = this.issue('sso', headers, Object.fromEntries(query));
    return answer(200, {
      roleCredentials: { accessKeyId: id, secretAccessKey: secret, sessionToken: token, expiration: expires },
    });
  }

  async sts(op, request) {
    const values = Object.fromEntries(form(request.body));
    if (op === 'AssumeRole') {
      const refused = await judge(request, this.keys(), this.now(), this.region, 'sts', SIGNED);
      if (refused) {
        this.refused += 1;
        return stsError(403, refused.type.split('#')[1], refused.message);
      }
    }
    const wanted = op === 'AssumeRole' ? this.assume : this.identity;
    for (const [name, value] of Object.entries(wanted)) {
      if (values[name] === value) continue;
      return name === 'WebIdentityToken'
        ? stsError(400, 'InvalidIdentityToken', `The ID Token provided is not a valid JWT: ${values[name]}`)
        : stsError(403, 'AccessDenied', `User is not authorized to perform: sts:${op} (${name})`);
    }
    return stsAnswer(op, this.issue(op, request.headers, values));
  }
}
