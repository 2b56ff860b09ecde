// SPDX-License-Identifier: Apache-2.0
// Straight to a server with AWS's own client, past every proxy.
import * as sdk from '@aws-sdk/client-dynamodb';
import { KEY_ID, SECRET } from './proxy.mjs';

const ACTIVE_MS = 10_000;
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true';

// DynamoDB JSON has bytes in base64; the client wants them as bytes, and gives them as bytes.
export function bytesIn(value) {
  if (Array.isArray(value)) return value.map(bytesIn);
  if (value === null || typeof value !== 'object') return value;
  const names = Object.keys(value);
  if (names.length === 1 && typeof value.B === 'string') return { B: Buffer.from(value.B, 'base64') };
  if (names.length === 1 && Array.isArray(value.BS))
    return { BS: value.BS.map(text => Buffer.from(text, 'base64')) };
  return Object.fromEntries(names.map(name => [name, bytesIn(value[name])]));
}

export function bytesOut(value) {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  if (Array.isArray(value)) return value.map(bytesOut);
  if (value === null || typeof value !== 'object' || value instanceof Date) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, bytesOut(one)]));
}

export function newClient(port, options = {}) {
  return new sdk.DynamoDBClient({
    endpoint: `http://127.0.0.1:${port}`,
    region: 'us-east-1',
    maxAttempts: 1,
    credentials: { accessKeyId: KEY_ID, secretAccessKey: SECRET },
    ...options,
  });
}

export class Database {
  constructor(port) {
    this.client = newClient(port);
  }

  // Any operation, in and out as DynamoDB JSON; throws the service's error.
  async run(op, input = {}) {
    const Command = sdk[`${op}Command`];
    if (!Command) throw new Error(`no such operation: ${op}`);
    const { $metadata, ...output } = await this.client.send(new Command(bytesIn(input)));
    return bytesOut(output);
  }

  // → { result } or { error, message, item? }
  async raw(op, input) {
    try {
      return { result: await this.run(op, input) };
    } catch (error) {
      if (!error.$metadata?.httpStatusCode) throw error;
      return { error: error.name, message: error.message, ...(error.Item && { item: bytesOut(error.Item) }) };
    }
  }

  // The standard table; one that is there already will do. Its time to live is left off unless asked for: DynamoDB
  // Local's removes records in the second in which they expire, which the real one never does.
  async table(name, timeToLive = false) {
    await this.create(name);
    await this.active(name);
    if (!timeToLive) return { ttl: false };
    const ttl = await this.raw('UpdateTimeToLive', {
      TableName: name,
      TimeToLiveSpecification: { AttributeName: 'expires', Enabled: true },
    });
    return { ttl: ttl.error === undefined };
  }

  async create(name) {
    const made = await this.raw('CreateTable', {
      TableName: name,
      BillingMode: 'PAY_PER_REQUEST',
      AttributeDefinitions: [
        { AttributeName: 'id', AttributeType: 'S' },
        { AttributeName: 'name', AttributeType: 'S' },
      ],
      KeySchema: [
        { AttributeName: 'id', KeyType: 'HASH' },
        { AttributeName: 'name', KeyType: 'RANGE' },
      ],
    });
    if (made.error && made.error !== 'ResourceInUseException')
      throw new Error(`CreateTable: ${made.error}: ${made.message}`);
  }

  async active(name) {
    for (const deadline = Date.now() + ACTIVE_MS; Date.now() < deadline;) {
      const { Table } = await this.run('DescribeTable', { TableName: name });
      if (Table.TableStatus === 'ACTIVE') return;
      await new Promise(done => setTimeout(done, 10));
    }
    throw new Error(`table ${name} did not become active`);
  }
}
