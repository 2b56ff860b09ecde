// SPDX-License-Identifier: Apache-2.0
//
// Sources of credentials against AWS's own JavaScript SDK: environments and profiles from a fixed seed, with all
// sources there are in them, resolved by the library (through credentials_tool) and by the SDK's default chain, with
// the rig's fakes of the services behind both. A fake hands out an access key id that tells what it was asked, by
// whom and in which region: what both get must be equal.
//
// The library settles its source when a store is opened, and refuses what is half configured; the SDK goes on to
// the next source, and so to another identity. Such refusals are counted and must be of those listed in REFUSALS.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { randomSource } from './random.mjs';
import { Metadata } from './rig/metadata.mjs';

const VARIANT = process.env.DYNALOCK_TEST_VARIANT ?? 'release';
const TOOL = fileURLToPath(new URL(`../build/${VARIANT}/test/credentials_tool`, import.meta.url));
const SEED = Number(process.env.SEED) || 20240229;
const CASES = Number(process.env.CASES) || 600;
const FOLDER = mkdtempSync(join(tmpdir(), 'dynalock-credentials-'));
const PROFILES = ['default', 'a', 'b', 'c'];
const ROLE = name => `arn:aws:iam::123456789012:role/${name}`;
const LOGIN = { accessToken: 'sso-token', expiresAt: '2099-01-01T00:00:00Z' };
const REFUSALS = [
  /^environment: (an access key id|a secret access key) without /,
  /^there is no profile /,
  /^profile \w+ has (aws_access_key_id|aws_secret_access_key) without /,
  /^profile \w+ has role_arn without /,
  /^profile \w+ has both source_profile and credential_source/,
  /^profile \w+ names source_profile \w+, which is not there/,
  /^profile \w+ has no credentials/,
  /^profile \w+ is in a loop of source_profile/,
  /^profile \w+: credential_source \w+ is not there/,
];

// ---- The services -------------------------------------------------------------------------------

class Services extends Metadata {
  objections() {
    return [];
  }

  keys() {
    const known = ['AKIDENV', ...PROFILES.flatMap(name => [`AKID${name}`, `PROC${name}`])];
    return { ...Object.fromEntries(known.map(id => [id, { secret: `secret-of-${id}` }])), ...this.issued() };
  }

  // The same for the same question.
  issue(op, headers, values = {}) {
    const { RoleSessionName: name, ...others } = values;
    const by = /Credential=([^/]+)\/\d+\/([^/]+)/.exec(headers.authorization)?.slice(1) ?? headers.authorization;
    const own = /^(dynalock|aws-sdk-js)-/.test(name) ? null : name;
    const told = JSON.stringify([op, by, own, Object.entries(others).sort()]);
    const id = `ASIA${createHash('sha256').update(told).digest('hex').slice(0, 16).toUpperCase()}`;
    const set = { id, secret: `secret-of-${id}`, token: `token-of-${id}`, expires: Date.now() + 3600_000 };
    this.handedOut.set(id, set);
    this.told ??= new Map();
    this.told.set(id, told);
    return set;
  }
}

let services;
let url;
let tool;
let answers;

before(async () => {
  services = new Services({ region: '', role: 'rig-role' });
  await services.open();
  url = `http://127.0.0.1:${services.port}`;
  tool = spawn(TOOL, { env: { PATH: process.env.PATH, HOME: FOLDER }, stdio: ['pipe', 'pipe', 'inherit'] });
  answers = createInterface({ input: tool.stdout })[Symbol.asyncIterator]();
  mkdirSync(join(FOLDER, '.aws/sso/cache'), { recursive: true });
  for (const key of ['corp', 'https://corp.example/start']) {
    const name = createHash('sha1').update(key).digest('hex');
    writeFileSync(join(FOLDER, `.aws/sso/cache/${name}.json`), JSON.stringify(LOGIN));
  }
  writeFileSync(join(FOLDER, 'token'), 'web.identity.token');
  process.env.HOME = FOLDER;
});

after(async () => {
  tool.stdin.end();
  await services.close();
  rmSync(FOLDER, { recursive: true, force: true });
});

// ---- Cases --------------------------------------------------------------------------------------

function keysOf(random, name) {
  const both = [`aws_access_key_id = AKID${name}`, `aws_secret_access_key = secret-of-AKID${name}`];
  return random.chance(0.05) ? [random.pick(both)] : both;
}

function processOf(name) {
  const json = { Version: 1, AccessKeyId: `PROC${name}`, SecretAccessKey: `secret-of-PROC${name}` };
  return [`credential_process = /bin/echo '${JSON.stringify(json)}'`];
}

function ssoOf(random) {
  const place = random.chance(0.5)
    ? ['sso_session = corp']
    : ['sso_region = eu-west-1', 'sso_start_url = https://corp.example/start'];
  return [...place, `sso_account_id = ${random.pick(['123456789012', '123456789012', '1'])}`, 'sso_role_name = rig'];
}

function roleOf(random, name) {
  const source = `source_profile = ${random.pick([...PROFILES, ...PROFILES, ...PROFILES, 'nowhere'])}`;
  const named = `credential_source = ${random.pick(['Environment', 'EcsContainer', 'Ec2InstanceMetadata'])}`;
  const from = random.pick([[source], [source], [source], [named], [named], [named], [named], [source, named], []]);
  return [
    ...(random.chance(0.9) ? [`role_arn = ${ROLE(name)}`] : []),
    ...from,
    ...(random.chance(0.3) ? [`external_id = ${random.pick(['plain', 'a+b/c:d@e,f.g-h', 'x=y'])}`] : []),
    ...(random.chance(0.3) ? [`duration_seconds = ${random.pick([900, 43200])}`] : []),
    ...(random.chance(0.3) ? [`role_session_name = by-${name}`] : []),
  ];
}

function profile(random, name) {
  return [
    name === 'default' ? '[default]' : `[profile ${name}]`,
    ...(random.chance(0.3) ? keysOf(random, name) : []),
    ...(random.chance(0.35) ? roleOf(random, name) : []),
    ...(random.chance(0.2) ? [`web_identity_token_file = ${FOLDER}/token`] : []),
    ...(random.chance(0.3) ? processOf(name) : []),
    ...(random.chance(0.3) ? ssoOf(random) : []),
    ...(random.chance(0.3) ? [`region = ${random.pick(['eu-central-1', 'us-west-2'])}`] : []),
    '',
  ];
}

function environment(random) {
  const keys = [
    ['AWS_ACCESS_KEY_ID', 'AKIDENV'],
    ['AWS_SECRET_ACCESS_KEY', 'secret-of-AKIDENV'],
  ];
  return Object.fromEntries([
    ['AWS_REGION', 'us-east-1'],
    ['AWS_ENDPOINT_URL_STS', url],
    ['AWS_ENDPOINT_URL_SSO', url],
    ['AWS_EC2_METADATA_SERVICE_ENDPOINT', url],
    ...(random.chance(0.3) ? (random.chance(0.05) ? [random.pick(keys)] : keys) : []),
    ...(random.chance(0.4) ? [['AWS_PROFILE', random.pick([...PROFILES, ...PROFILES, 'nowhere'])]] : []),
    ...(random.chance(0.3) ? [['AWS_WEB_IDENTITY_TOKEN_FILE', `${FOLDER}/token`]] : []),
    ...(random.chance(0.3) ? [['AWS_ROLE_ARN', ROLE('env')]] : []),
    ...(random.chance(0.3) ? [['AWS_ROLE_SESSION_NAME', 'by-env']] : []),
    ...(random.chance(0.3) ? [['AWS_CONTAINER_CREDENTIALS_FULL_URI', `${url}/creds`]] : []),
    ...(random.chance(0.3) ? [['AWS_EC2_METADATA_DISABLED', random.pick(['true', 'false', 'TRUE', '1'])]] : []),
  ]);
}

function makeCase(random, number) {
  const text = PROFILES.flatMap(name => (random.chance(0.9) ? profile(random, name) : [])).join('\n');
  const session = '\n[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n';
  const file = join(FOLDER, `config-${number}`);
  writeFileSync(file, text + session);
  const env = { ...environment(random), AWS_CONFIG_FILE: file, AWS_SHARED_CREDENTIALS_FILE: `${FOLDER}/none` };
  return { text, env, ...(random.chance(0.1) ? { profile: random.pick(PROFILES) } : {}) };
}

// ---- Both ---------------------------------------------------------------------------------------

async function ofLibrary({ env, profile: name }) {
  tool.stdin.write(`${JSON.stringify({ env, profile: name })}\n`);
  return JSON.parse((await answers.next()).value);
}

async function ofSdk({ env, profile: name }) {
  for (const known of Object.keys(process.env)) if (known.startsWith('AWS_')) delete process.env[known];
  Object.assign(process.env, env);
  const client = new DynamoDBClient({ maxAttempts: 1, ...(name ? { profile: name } : {}) });
  try {
    const { accessKeyId: id, secretAccessKey: secret, sessionToken: token } = await client.config.credentials();
    return { id, secret, ...(token ? { token } : {}) };
  } catch (error) {
    return { error: error.message };
  } finally {
    client.destroy();
  }
}

test('what is found, by whom and where it is asked for, is what the JavaScript SDK finds', async () => {
  const random = randomSource(SEED);
  const counts = { equal: 0, both_refuse: 0, refused_here: 0 };
  const sources = {};
  console.warn = () => {};
  for (let number = 1; number <= CASES; number += 1) {
    const one = makeCase(random, number);
    const [{ source, ...ours }, theirs] = [await ofLibrary(one), await ofSdk(one)];
    const shown = () =>
      `case ${number} of seed ${SEED}: ${JSON.stringify({ ...one, source, ours, theirs }, null, 1)}\n${one.text}\n` +
      `${services.told?.get(ours.id)}\n${services.told?.get(theirs.id)}`;
    assert.doesNotMatch(ours.error ?? '', /secret-of|token-of|sso-token|web\.identity/, shown());
    if (!ours.error) {
      assert.deepEqual(ours, theirs, shown());
      counts.equal += 1;
      const kind = source.replace(/^profile \w+/, 'profile');
      sources[kind] = (sources[kind] ?? 0) + 1;
    } else if (theirs.error) {
      counts.both_refuse += 1;
    } else {
      assert.ok(REFUSALS.some(known => known.test(ours.error)), shown());
      counts.refused_here += 1;
    }
  }
  console.log(`# ${CASES} cases: ${JSON.stringify(counts)}; sources: ${JSON.stringify(sources)}`);
  assert.ok(counts.equal > CASES / 2, JSON.stringify(counts));
  assert.equal(Object.keys(sources).length, 9, JSON.stringify(sources));
});
