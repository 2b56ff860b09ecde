// SPDX-License-Identifier: Apache-2.0
//
// Profiles, region and endpoints against AWS's own JavaScript SDK: environments and shared files from a
// fixed seed, resolved by the library (through config_tool) and by the clients of DynamoDB, STS and SSO.
// What both resolve must be equal; where the SDK refuses, so must the library.
//
// Where the library differs on purpose, it is held to what it does instead, or the case is put to the
// judge in the form it knows:
//
//  1. AWS_DEFAULT_REGION: the SDK for JavaScript does not know it, those for Go and Python do. The judge
//     is given it as AWS_REGION where that is not set.
//  2. The profile by option: the judge looks for endpoints in the profile of AWS_PROFILE alone, and is
//     given the option's there.
//  3. A flag that is neither true nor false, max_attempts that is no number from 1 to 100, a services
//     section that a profile names and that is not there: the judge goes on with the next place, and so
//     to an endpoint nobody asked for; the library says what is wrong. TRUE is true, as for Go and Python.
//  4. An endpoint with a path, a query or a fragment: refused by the library.
//  5. AWS_REGION set to nothing counts as not set. Not generated: the judge fails.
//  6. A header with a comment right behind it ("[profile a]#x") is a header, and what begins with "[" and
//     is none ends the section before it; the judge would go on in that section. Not generated:
//     unit_profile.c has it.
//  7. Unicode's white space, but for a byte order mark, is text to the library. Not generated.
//  8. A section without any property is none to the judge. A services section that a profile names is
//     generated with one.
//  9. The file of SSO sessions is not looked for behind "~/" by the judge: it is given the whole path.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { randomSource, times } from './random.mjs';
import { askTool } from './tool.mjs';

const require = createRequire(import.meta.url);
const { DynamoDBClient, ListTablesCommand } = require('@aws-sdk/client-dynamodb');
const { STSClient, AssumeRoleCommand } = require('@aws-sdk/nested-clients/sts');
const { SSOClient, GetRoleCredentialsCommand } = require('@aws-sdk/nested-clients/sso');
const { SSOOIDCClient, CreateTokenCommand } = require('@aws-sdk/nested-clients/sso-oidc');
const { loadConfig, loadSharedConfigFiles, loadSsoSessionData, parseKnownFiles } = require('@smithy/core/config');
const { getEndpointFromInstructions } = require('@smithy/core/endpoints');
const { NODE_MAX_ATTEMPT_CONFIG_OPTIONS } = require('@smithy/core/retry');

const HERE = dirname(fileURLToPath(import.meta.url));
const TOOL = join(HERE, `../build/${process.env.DYNALOCK_TEST_VARIANT ?? 'release'}/test/config_tool`);
const SEED = Number(process.env.SEED) || 0x5193a5;
const CASES = Number(process.env.CASES) || 1000;
const FOLDER = mkdtempSync(join(tmpdir(), 'dynalock-config-'));
const OWN = /^(AWS_|HOME$)/;
const ORIGINAL = Object.fromEntries(Object.entries(process.env).filter(([name]) => OWN.test(name)));

after(() => {
  setEnvironment(ORIGINAL);
  rmSync(FOLDER, { recursive: true, force: true });
});

const { random, below, chance, pick } = randomSource(SEED);

// ---- What is generated --------------------------------------------------------------------------

const PARTITIONS = JSON.parse(readFileSync(join(HERE, 'node_modules/@aws-sdk/core/dist-es/submodules/client',
  'util-endpoints/lib/aws/partitions.js'), 'utf8').replace(/^export const partitionsInfo = /, '').replace(/;\s*$/, ''));
const REGIONS = PARTITIONS.partitions.flatMap(({ regions }) => Object.keys(regions));
const INVENTED = ['us-mars-1', 'mars-1', 'cn-north-1a', 'cn-x-', 'cn--1', 'cn-a-b-1', 'CN-NORTH-1', 'us-iso-east-12',
  'us-isoc-east-1', 'eusc-fr-east-1', 'eusc-de-x_y-1', 'eu-isoe-1', 'us-gov-x-1', 'usgov-x-1', 'a', '1', 'local',
  'eu-isof-east-1', 'us-isob-west-9', 'me-central-2', 'x'.repeat(63)];
const PSEUDO = ['fips-us-east-1', 'us-gov-west-1-fips', 'fips-aws-global', 'aws-fips', 'fips-dkr-us-west-2',
  'fips-prod-eu-west-1', 'us-fips-fips', 'fips-fips-us-east-1', 'fips-cn-north-1', 'fips-local'];
const NO_REGIONS = ['us_east', '-a', 'a-', 'a.b', 'x'.repeat(64), 'fips-', 'ä', '"us-east-1"', 'us east'];
const region = () => pick([REGIONS, REGIONS, REGIONS, INVENTED, chance(0.5) ? PSEUDO : INVENTED,
  chance(0.15) ? NO_REGIONS : REGIONS].map(pick));
const endpoint = () => pick([
  () => `http://127.0.0.1:${1000 + below(9000)}`,
  () => `https://vpce-${below(99)}-x.dynamodb.us-east-1.vpce.amazonaws.com`,
  () => pick(['http://LOCALHOST:80/', 'https://Host.example:443', 'http://[::1]:8000', 'http://h', 'https://a-b.c/']),
  () => pick(['http://localhost:8000', 'https://dynamodb.us-east-1.api.aws', 'http://dynamodb.eu-west-1.api.aws/', 'https://dynamodb.eu-west-1.amazonaws.com']),
  () => (chance(0.5) ? 'http://10.0.0.1' : pick(['http://h:1/path', 'http://h?q', 'h:8000', 'ftp', '"http://h"', 'http://h:1#x', 'http://'])),
])();
const flag = () => (chance(0.9) ? pick(['true', 'false', 'false']) : pick(['TRUE', 'False', 'yes', '1', 'true;x', '"true"']));
const attempts = () => (chance(0.85) ? String(1 + below(100)) : pick(['0', '-1', '101', 'many', '3x', '1e1']));
const word = () => times(1 + below(12), () => pick([...'abcXYZ019/+=_-'])).join('');
const secret = () => pick([word, () => `${word()}#${word()}`, () => `${word()};x`, () => `a = ${word()}`, () => '=',
  () => `"${word()}"`, () => `${word()} ${word()}`, () => `é${word()}`, () => `[${word()}]`])();

const NAMES = ['default', 'a', 'dev', 'x-1_Y', 'my.prof', 'u@h+i%:/z', 'a b', 'ä', ' a', 'a ', '"a"', 'profile.a', 'none'];
const SECTIONS = ['main', 'main', 'main', 's-2', 'x.y'];
const VALUES = {
  region, endpoint_url: endpoint, services: () => pick(SECTIONS), use_fips_endpoint: flag, use_dualstack_endpoint: flag,
  ignore_configured_endpoint_urls: flag, max_attempts: attempts, aws_access_key_id: word, aws_secret_access_key: secret,
  aws_session_token: secret, role_arn: secret, source_profile: () => pick(NAMES).trim(), credential_process: secret,
  sso_session: () => pick(SECTIONS), REGION: region, 'x.y': word, 'dynamodb.endpoint_url': endpoint,
};
const COMMON = ['region', 'region', 'endpoint_url', 'services', 'aws_access_key_id', 'aws_secret_access_key'];
const SERVICES = ['dynamodb', 'sts', 'sso', 'sso_oidc', 's3', 'DynamoDB'];
const KEYS = [...Object.keys(VALUES), ...SERVICES.map(name => `${name}.endpoint_url`), 's3.region', 'region.x', 'sso_region'];

const space = () => pick(['', '', '', ' ', '  ', '\t', ' \t ', '\f', '\v']);
const comment = () => pick(['#', ';', '# [profile a]', '; region = zz-1', ' # x', '\t;y', '#=']);

function header(file, name) {
  const tail = () => (chance(0.85) ? space() : ` ${comment()}`);
  const odd = [`[ ${name}]`, `[${name} ]`, `["${name}"]`, `[profile  ${name}]`, `[profile "${name}']`, `[profile ${name} ]`,
    `[profile.${name}]`, `[Profile ${name}]`, `[my ${name}]`, '[profile]', '[]', '[profile ]', `[profile "${name}`,
    `[${name}] [x]`, `[profile ${name}`];
  const right = file === 'config' && (name !== 'default' || chance(0.3))
    ? pick([`[profile ${name}]`, `[profile ${name}]`, `[profile\t${name}]`, `[profile "${name}"]`, `[profile '${name}']`])
    : `[${name}]`;
  // What begins with "[" and does not end with "]" is kept out (6).
  const line = chance(0.85) ? right : pick(odd.filter(text => text.endsWith(']')));
  return `${space()}${line}${tail()}`;
}

function property(key, value, indented) {
  const head = indented ? pick([' ', '  ', '\t', ' \t']) : '';
  const equals = pick([' = ', '=', '= ', ' =', '\t=\t', '  =  ']);
  const tail = pick(['', '', '', '', ' ', '\t', ` ${comment()}`, '\t# x']);
  return `${head}${key}${equals}${value}${tail}`;
}

const noise = () => pick(['', '', '   ', comment, () => ` ${comment()}`, 'no value', '= x', ' =', '=',
  () => property(pick(COMMON), '', chance(0.5)), 'key', ' ]', 'a]', '"x"']);

function lines(keys) {
  return times(below(7), () => {
    if (chance(0.2)) {
      const made = noise();
      return typeof made === 'function' ? made() : made;
    }
    const key = pick(keys);
    return property(key, VALUES[key](), chance(0.12));
  });
}

function servicesSection() {
  const nested = () => {
    const service = pick(SERVICES);
    const own = times(below(3), () => property(pick(['endpoint_url', 'endpoint_url', 'region']), endpoint(), chance(0.9)));
    return [property(service, '', chance(0.1)), ...own, ...(chance(0.1) ? ['', ' # x'] : []),
      ...(chance(0.3) ? [property('endpoint_url', endpoint(), true)] : [])];
  };
  const name = pick(SECTIONS);
  return [pick([`[services ${name}]`, `[services ${name}]`, `[services "${name}"]`, `[service ${name}]`]),
    ...times(below(4), nested).flat(), ...(chance(0.2) ? lines(['endpoint_url']) : []), property('last', 'x', false)];
}

function file(kind, names) {
  const keys = [...COMMON, ...(chance(0.5) ? Object.keys(VALUES) : [])];
  const sections = times(1 + below(5), () => [header(kind, chance(0.75) ? pick(names) : pick(NAMES)), ...lines(keys)]);
  if (kind === 'config') {
    sections.push(...times(below(3), servicesSection));
    if (chance(0.2)) sections.push([`[sso-session ${pick(SECTIONS)}]`, ...lines(['region', 'x.y', 'sso_session'])]);
  }
  if (chance(0.1)) sections.unshift(lines(keys));
  const order = sections.sort(() => random() - 0.5).flat();
  const newline = pick(['\n', '\n', '\n', '\r\n']);
  const text = order.map(line => line + (chance(0.05) ? '\r\n' : newline)).join('');
  return (chance(0.05) ? '\ufeff' : '') + (chance(0.2) ? text.trimEnd() : text);
}

function environment(home, names) {
  const env = { HOME: home, AWS_EC2_METADATA_DISABLED: 'true' };
  const maybe = (p, name, make) => { if (chance(p)) env[name] = make(); };
  maybe(0.5, 'AWS_REGION', region);
  maybe(0.1, 'AWS_DEFAULT_REGION', region);
  maybe(0.5, 'AWS_PROFILE', () => (chance(0.9) ? pick(names) : pick([...NAMES, ''])));
  maybe(0.1, 'AWS_ENDPOINT_URL', () => (chance(0.9) ? endpoint() : ''));
  maybe(0.1, 'AWS_ENDPOINT_URL_DYNAMODB', () => (chance(0.9) ? endpoint() : ''));
  maybe(0.1, 'AWS_ENDPOINT_URL_STS', endpoint);
  maybe(0.05, 'AWS_ENDPOINT_URL_SSO', endpoint);
  maybe(0.05, 'AWS_ENDPOINT_URL_SSO_OIDC', endpoint);
  maybe(0.1, 'AWS_IGNORE_CONFIGURED_ENDPOINT_URLS', flag);
  maybe(0.15, 'AWS_USE_FIPS_ENDPOINT', flag);
  maybe(0.15, 'AWS_USE_DUALSTACK_ENDPOINT', flag);
  maybe(0.1, 'AWS_MAX_ATTEMPTS', attempts);
  return env;
}

// Where a file is, and what the variable that names it says.
function place(env, home, variable, usual) {
  const where = pick(['usual', 'usual', 'usual', 'absolute', 'tilde']);
  if (where === 'usual') return join(home, '.aws', usual);
  const path = join(home, `own ${usual}`);
  env[variable] = where === 'tilde' ? `~/own ${usual}` : path;
  return path;
}

function makeCase(number) {
  const home = join(FOLDER, String(number));
  const names = times(2, () => pick(['default', 'default', 'a', 'dev', 'x-1_Y', 'my.prof', 'u@h+i%:/z', 'a b']));
  const env = environment(home, names);
  const files = { config: place(env, home, 'AWS_CONFIG_FILE', 'config'),
    credentials: place(env, home, 'AWS_SHARED_CREDENTIALS_FILE', 'credentials') };
  mkdirSync(join(home, '.aws'), { recursive: true });
  for (const [kind, path] of Object.entries(files)) {
    if (chance(0.9)) writeFileSync(path, file(kind, names));
  }
  const options = {};
  if (chance(0.1)) options.profile = pick(names);
  if (chance(0.1)) options.region = region();
  if (chance(0.1)) options.endpoint = endpoint();
  return { number, env, options, files };
}

// ---- The judge ----------------------------------------------------------------------------------

function setEnvironment(env) {
  for (const name of Object.keys(process.env)) {
    if (OWN.test(name)) delete process.env[name];
  }
  Object.assign(process.env, env, { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true' });
}

function setJudgesEnvironment({ env, options }) {
  const given = { ...env };
  if (options.profile) given.AWS_PROFILE = options.profile;
  given.AWS_REGION ??= env.AWS_DEFAULT_REGION;
  if (given.AWS_REGION === undefined) delete given.AWS_REGION;
  setEnvironment(given);
}

const CREDENTIALS = { accessKeyId: 'id', secretAccessKey: 'none' };
const CLIENTS = {
  dynamodb: [DynamoDBClient, ListTablesCommand], sts: [STSClient, AssumeRoleCommand],
  'portal.sso': [SSOClient, GetRoleCredentialsCommand], oidc: [SSOOIDCClient, CreateTokenCommand],
};
const ASKED = [['STS', 'sts'], ['SSO', 'portal.sso'], ['SSO OIDC', 'oidc']];

async function judgeEndpoint(service, given) {
  const [Client, Command] = CLIENTS[service];
  const client = new Client({ credentials: CREDENTIALS, ...given });
  try {
    const configured = given.endpoint ?? await client.config.serviceConfiguredEndpoint();
    const realRegion = await client.config.region();
    const made = await getEndpointFromInstructions({}, Command, { ...client.config }, {});
    const scheme = made.properties?.authSchemes?.[0];
    return { configured, region: scheme?.signingRegion ?? realRegion, url: made.url.href, host: made.url.host };
  } catch (error) {
    return { error: error.message };
  }
}

async function judge(c) {
  setJudgesEnvironment(c);
  const profile = c.options.profile || c.env.AWS_PROFILE || 'default';
  const { configFile, credentialsFile } = await loadSharedConfigFiles();
  const settings = { ...credentialsFile[profile], ...configFile[profile] };
  const services = {};
  for (const [key, value] of Object.entries(configFile)) {
    if (key.startsWith('services.')) services[key.slice('services.'.length)] = value;
  }
  const { profile: chosen, ...options } = c.options;
  const given = { ...options, ...(chosen && { profile: chosen }) };
  const others = [];
  for (const [, service] of ASKED) others.push(await judgeEndpoint(service, { region: c.otherRegion }));
  return {
    profile, settings, services, others,
    profiles: await parseKnownFiles({}),
    sessions: await loadSsoSessionData({ configFilepath: c.files.config }),
    attempts: await loadConfig({ ...NODE_MAX_ATTEMPT_CONFIG_OPTIONS, default: 0 }, {})(),
    dynamodb: await judgeEndpoint('dynamodb', given),
  };
}

// ---- The library --------------------------------------------------------------------------------

function resolveWithTool(cases) {
  return askTool(TOOL, cases, Object.fromEntries(Object.entries(process.env).filter(([name]) => !OWN.test(name))));
}

// All that may stand in the files, and what the judge has of it.
function questions(judged) {
  const tables = [judged.profiles, judged.sessions, judged.services];
  const names = [[...NAMES, ...Object.keys(judged.profiles).filter(name => !/^(services|sso-session)\./.test(name))],
    [...SECTIONS, ...Object.keys(judged.sessions)], [...SECTIONS, ...Object.keys(judged.services)]];
  const ask = [];
  const expected = [];
  names.forEach((list, section) => {
    for (const name of new Set(list)) {
      const table = Object.hasOwn(tables[section], name) ? tables[section][name] : {};
      for (const key of new Set([...KEYS, ...Object.keys(table)])) {
        ask.push([section, name, key]);
        expected.push(Object.hasOwn(table, key) ? table[key] : null);
      }
    }
  });
  return { ask, expected };
}

// ---- Where the library refuses and the judge goes on (3, 4) ---------------------------------------

function wrongFlag(c, judged, variable, key) {
  const value = c.env[variable] || judged.settings[key] || 'false';
  return !/^(true|false)$/i.test(value);
}

const isTrue = (c, judged, variable, key) => /^true$/i.test(c.env[variable] || judged.settings[key] || '');
const spelledOtherwise = (c, judged) => [
  ['AWS_USE_FIPS_ENDPOINT', 'use_fips_endpoint'], ['AWS_USE_DUALSTACK_ENDPOINT', 'use_dualstack_endpoint'],
  ['AWS_IGNORE_CONFIGURED_ENDPOINT_URLS', 'ignore_configured_endpoint_urls'],
].some(([variable, key]) => !/^(true|false)$/.test(c.env[variable] || judged.settings[key] || 'false'));

// Of the places that are asked whatever the service.
function refusal(c, judged) {
  const attemptsValue = c.env.AWS_MAX_ATTEMPTS || judged.settings.max_attempts || '1';
  if (wrongFlag(c, judged, 'AWS_USE_FIPS_ENDPOINT', 'use_fips_endpoint')
    || wrongFlag(c, judged, 'AWS_USE_DUALSTACK_ENDPOINT', 'use_dualstack_endpoint')) return /is neither true nor false$/;
  if (!/^\d{1,3}$/.test(attemptsValue) || Number(attemptsValue) < 1 || Number(attemptsValue) > 100) {
    return /is not a number from 1 to 100$/;
  }
  return c.options.endpoint ? null : missingSection(c, judged, 'DYNAMODB');
}

function missingSection(c, judged, service) {
  if (wrongFlag(c, judged, 'AWS_IGNORE_CONFIGURED_ENDPOINT_URLS', 'ignore_configured_endpoint_urls')) {
    return /is neither true nor false$/;
  }
  if (isTrue(c, judged, 'AWS_IGNORE_CONFIGURED_ENDPOINT_URLS', 'ignore_configured_endpoint_urls')) return null;
  if (c.env[`AWS_ENDPOINT_URL_${service}`] || c.env.AWS_ENDPOINT_URL) return null;
  const named = judged.settings.services;
  return named && !Object.hasOwn(judged.services, named) ? /names the services section/ : null;
}

const isPlain = url => url === undefined || /^https?:\/\/[^/?#]+\/?$/.test(url);

function compare(c, judged, answer, total) {
  const told = `case ${c.number} of seed ${SEED}`;
  const { config } = answer;
  const expected = refusal(c, judged);
  if (expected) {
    total.refused++;
    assert.match(config.error ?? 'no error', expected, told);
  } else if (spelledOtherwise(c, judged)) {
    total.spelled++;
  } else if (judged.dynamodb.error !== undefined) {
    total.failing++;
    const missing = /Region is missing/.test(judged.dynamodb.error);
    if (config.error === undefined) assert.ok(missing && config.lacks_region, `${told}: ${judged.dynamodb.error}`);
  } else if (!isPlain(judged.dynamodb.configured)) {
    total.refused++;
    assert.match(config.error ?? 'no error', /endpoint/, told);
  } else {
    total.endpoints++;
    const { region: signed, url, host } = judged.dynamodb;
    assert.deepEqual({ error: config.error, region: config.region, url: config.url, host: config.host },
      { error: undefined, region: signed, url, host }, told);
    assert.equal(config.max_attempts, judged.attempts, told);
  }
  if (config.error === undefined && !spelledOtherwise(c, judged)) compareOthers(c, judged, answer, total);
}

function compareOthers(c, judged, answer, total) {
  ASKED.forEach(([id], i) => {
    const told = `case ${c.number} of seed ${SEED}, ${id}`;
    const { error, configured, url } = judged.others[i];
    if (missingSection(c, judged, id.replace(' ', '_')) || error !== undefined || !isPlain(configured)) {
      assert.equal(answer.services[i], null, `${told}: ${error ?? configured}`);
    } else {
      total.others++;
      assert.equal(answer.services[i], url, told);
    }
  });
}

test('profiles, region and endpoints are those that the SDK for JavaScript resolves', async (t) => {
  const cases = times(CASES, i => ({ ...makeCase(i), otherRegion: pick([...REGIONS, ...INVENTED, ...PSEUDO]) }));
  const judgements = [];
  for (const c of cases) judgements.push(await judge(c));
  const asked = judgements.map(questions);
  const answers = await resolveWithTool(cases.map((c, i) => ({
    env: c.env, options: c.options, ask: asked[i].ask, services: ASKED.map(one => [...one, c.otherRegion]),
  })));
  const total = { properties: 0, endpoints: 0, others: 0, failing: 0, refused: 0, spelled: 0 };

  assert.equal(answers.length, cases.length);
  cases.forEach((c, i) => {
    assert.equal(answers[i].error, undefined, `case ${i}`);
    asked[i].ask.forEach((question, k) => {
      assert.equal(answers[i].answers[k], asked[i].expected[k], `case ${i} of seed ${SEED}: ${JSON.stringify(question)}`);
    });
    total.properties += asked[i].expected.filter(value => value !== null).length;
    compare(c, judgements[i], answers[i], total);
  });
  t.diagnostic(`${CASES} cases: ${total.properties} properties, ${total.endpoints} endpoints of DynamoDB and `
    + `${total.others} of STS and SSO equal; ${total.failing} that the SDK refuses; ${total.refused} that the library `
    + `alone refuses, ${total.spelled} flags in other spelling`);
  assert.ok(total.endpoints >= CASES / 3, 'too few endpoints compared');
});

test('each service has the host that its own rules say, in every region', async (t) => {
  setEnvironment({ AWS_EC2_METADATA_DISABLED: 'true', HOME: FOLDER });
  const make = [];
  const expected = [];
  for (const [service, [Client]] of Object.entries(CLIENTS)) {
    const { config } = new Client({ region: 'us-east-1', credentials: CREDENTIALS });
    for (const name of [...REGIONS, ...INVENTED]) {
      for (const [fips, dual] of [[false, false], [true, false], [false, true], [true, true]]) {
        make.push([service, name, fips, dual]);
        try {
          const made = config.endpointProvider({ Region: name, UseFIPS: fips, UseDualStack: dual, UseGlobalEndpoint: false });
          expected.push(made.url.href);
        } catch {
          expected.push(null);
        }
      }
    }
  }
  const [answer] = await resolveWithTool([{ env: { HOME: FOLDER }, make }]);
  make.forEach((one, i) => {
    assert.equal(answer.made[i]?.toLowerCase() ?? null, expected[i], JSON.stringify(one));
  });
  t.diagnostic(`${make.length} hosts in ${REGIONS.length} regions and ${INVENTED.length} invented ones`);
  assert.ok(expected.filter(Boolean).length > make.length - 5);
});
