// SPDX-License-Identifier: Apache-2.0
// usage: node packaging/aws/check.mjs
// Compares the CloudFormation template and the Terraform module with the requests by which the library makes a table
// (request.c), and the policies with the table of actions in README.md.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';

const read = name => readFileSync(new URL(name, import.meta.url), 'utf8');
const HERE = readdirSync(new URL('.', import.meta.url)).filter(name => name.endsWith('.json'));
const files = Object.fromEntries(HERE.map(name => [name, JSON.parse(read(name))]));

// ---- What the library asks for ----

// The string literals of a function of request.c are the request's members, behind the table's name.
function request(name) {
  const [, body] = new RegExp(`^void ${name}\\(.*?\\n{(.*?)^}`, 'ms').exec(read('../../request.c'));
  const literals = [...body.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, text]) => text.replaceAll('\\"', '"'));
  return JSON.parse(`{${literals.join('').replace(/^[A-Za-z]+,/, '')}`);
}
const made = { ...request('dlk_request_create_table'), ...request('dlk_request_enable_ttl') };

// ---- The template ----

const { Type, Properties } = files['table.template.json'].Resources.Table;
assert.equal(Type, 'AWS::DynamoDB::Table');
const {
  TableName, SSESpecification, PointInTimeRecoverySpecification, DeletionProtectionEnabled, ...table
} = Properties;
assert.deepEqual(table, made, 'table.template.json is not what the library creates');
const parameters = files['table.template.json'].Parameters;
assert.deepEqual(TableName, { Ref: 'TableName' });
assert.equal(SSESpecification['Fn::If'][0], 'HasKmsKey');
assert.deepEqual(PointInTimeRecoverySpecification, { PointInTimeRecoveryEnabled: { Ref: 'PointInTimeRecovery' } });
assert.deepEqual(DeletionProtectionEnabled, { Ref: 'DeletionProtection' });
for (const [name, value] of [['KmsKeyArn', ''], ['PointInTimeRecovery', 'false'], ['DeletionProtection', 'false']]) {
  assert.equal(parameters[name].Default, value, `the template's ${name} is not off by default`);
}

// ---- The module ----

const module = read('terraform/main.tf').replace(/ +/g, ' ');
const [, hash] = /^ hash_key = "(.*)"$/m.exec(module);
const [, range] = /^ range_key = "(.*)"$/m.exec(module);
const [, BillingMode] = /^ billing_mode = "(.*)"$/m.exec(module);
const [, AttributeName, Enabled] = /^ ttl {\n attribute_name = "(.*)"\n enabled = (.*)\n }$/m.exec(module);
assert.deepEqual({
  BillingMode,
  AttributeDefinitions: [...module.matchAll(/^ attribute {\n name = "(.*)"\n type = "(.*)"\n }$/mg)].map(
    ([, name, type]) => ({ AttributeName: name, AttributeType: type })),
  KeySchema: [{ AttributeName: hash, KeyType: 'HASH' }, { AttributeName: range, KeyType: 'RANGE' }],
  TimeToLiveSpecification: { AttributeName, Enabled: Enabled === 'true' },
}, made, 'terraform/main.tf is not what the library creates');

// ---- The policies ----

const USES = {
  'reader.json': 'reads records',
  'writer.json': 'writes records',
  'locker.json': 'locks',
  'admin.json': 'creates the table',
  'verifier.json': 'verifies the table',
};
assert.deepEqual(HERE.sort(), [...Object.keys(USES), 'table.template.json'].sort());
const readme = read('../../README.md');
const [, rows] = /^\| who \| actions \(`dynamodb:`\) \|\n\|[-|]+\|\n((?:\|.*\n)+)/m.exec(readme);
const actions = Object.fromEntries(rows.trim().split('\n').map(row => {
  const [, who, what] = row.split('|').map(cell => cell.trim());
  return [who, what.replace(/\(.*\)/, '').split(',').map(action => `dynamodb:${action.trim()}`)];
}));
assert.deepEqual(Object.keys(actions).sort(), Object.values(USES).sort(), 'README.md names other uses');
const [, resource] = /\(`(arn:aws:dynamodb:[^`]*)`\)/.exec(readme);
for (const [name, use] of Object.entries(USES)) {
  const { Version, Statement } = files[name];
  assert.equal(Version, '2012-10-17', name);
  assert.equal(Statement.length, 1, name);
  const [{ Effect, Action, Resource }] = Statement;
  assert.deepEqual({ Effect, Action, Resource }, { Effect: 'Allow', Action: actions[use], Resource: resource }, name);
  assert.ok(read('README.md').includes(`| ${name} | ${use} |`), `packaging/aws/README.md does not tell ${name}`);
}
