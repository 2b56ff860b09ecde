// SPDX-License-Identifier: Apache-2.0
// A client that sends exactly what the Go library dynalock sends, and takes answers as it does.
import { setTimeout as sleep } from 'node:timers/promises';

const DEFAULT_TTL_S = 20;
const POLL_MS = 3000;
const CREATE =
  '(attribute_not_exists(id) AND attribute_not_exists(#name)) OR (attribute_exists(expires) AND expires < :timeNow)';
const MODIFY =
  'version = :lastRevision AND (attribute_not_exists(expires) OR (attribute_exists(expires) AND expires > :timeNow))';

const ERRORS = {
  notFound: 'key not found in table',
  exists: 'key already exists in table',
  modified: 'key has been modified',
  notAcquired: 'failed to acquire lock',
};

class GoError extends Error {}

const numeral = value => ({ N: String(value) });

function decode(item) {
  return {
    partition: item.id.S,
    key: item.name.S,
    version: Number(item.version?.N ?? 0),
    expires: Number(item.expires?.N ?? 0),
    payload: item.payload ?? null,
    value: item.payload?.S === undefined ? null : Buffer.from(item.payload.S, 'base64').toString(),
  };
}

// One instance of the Go library: a store and its locks, with a clock of its own.
export class GoClient {
  constructor(database, table, partition) {
    Object.assign(this, { database, table, partition, last: new Map(), renewals: new Map() });
  }

  nowS(options) {
    return Date.now() / 1000 + (options.now_offset_s ?? 0);
  }

  base(key) {
    return { TableName: this.table, Key: { id: { S: this.partition }, name: { S: key } } };
  }

  update(key, options, ttl) {
    const values = { ':inc': numeral(1) };
    const sets = [];
    const payload =
      options.payload ??
      (options.value === undefined ? null : { S: Buffer.from(options.value).toString('base64') });
    if (payload) {
      values[':payload'] = payload;
      sets.push('payload = :payload');
    }
    if (ttl > 0) {
      values[':ttl'] = numeral(Math.floor(this.nowS(options) + ttl));
      sets.push('expires = :ttl');
    }
    const expression = `ADD version :inc${sets.length ? ` SET ${sets.join(',')}` : ''}`;
    return {
      ...this.base(key),
      UpdateExpression: expression,
      ExpressionAttributeValues: values,
      ReturnValues: 'ALL_NEW',
    };
  }

  // The time to live in seconds: as told (null: none), or the default, or what remains of the previous record.
  ttl(options, previous) {
    if (options.ttl === null) return 0;
    if (options.ttl !== undefined) return options.ttl;
    return previous ? previous.expires - this.nowS(options) : DEFAULT_TTL_S;
  }

  async put(key, options) {
    await this.database.run('UpdateItem', this.update(key, options, this.ttl(options)));
    return {};
  }

  async item(key, options) {
    const { Item } = await this.database.run('GetItem', {
      ...this.base(key),
      ConsistentRead: options.consistent ?? true,
    });
    return Item ?? null;
  }

  expired(item, options) {
    return item.expires !== undefined && Number(item.expires.N) < this.nowS(options);
  }

  async get(key, options) {
    const item = await this.item(key, options);
    if (!item || this.expired(item, options)) throw new GoError(ERRORS.notFound);
    const record = decode(item);
    this.last.set(key, record);
    return { record };
  }

  async exists(key, options) {
    const item = await this.item(key, options);
    return { exists: item !== null && !this.expired(item, options) };
  }

  async list(prefix, options) {
    const input = {
      TableName: this.table,
      KeyConditionExpression: '#id = :partition AND begins_with(#name, :namePrefix)',
      ExpressionAttributeNames: { '#id': 'id', '#name': 'name' },
      ExpressionAttributeValues: { ':partition': { S: this.partition }, ':namePrefix': { S: prefix } },
      ConsistentRead: options.consistent ?? true,
    };
    const items = [];
    let start;
    do {
      const page = await this.database.run('Query', start ? { ...input, ExclusiveStartKey: start } : input);
      items.push(...page.Items);
      start = page.LastEvaluatedKey;
    } while (start);
    if (items.length === 0) throw new GoError(ERRORS.notFound);
    return { records: items.filter(item => !this.expired(item, options)).map(decode) };
  }

  async delete(key) {
    await this.database.run('DeleteItem', this.base(key));
    return {};
  }

  async atomicPut(key, options, previous) {
    const input = this.update(key, options, this.ttl(options, previous));
    input.ConditionExpression = previous ? MODIFY : CREATE;
    input.ExpressionAttributeValues[':timeNow'] = numeral(Math.floor(this.nowS(options)));
    if (previous) input.ExpressionAttributeValues[':lastRevision'] = numeral(previous.version);
    else input.ExpressionAttributeNames = { '#name': 'name' };
    const answer = await this.conditional('UpdateItem', input, previous ? ERRORS.modified : ERRORS.exists);
    const record = decode(answer.Attributes);
    this.last.set(key, record);
    return { record };
  }

  async atomicDelete(key, options) {
    const previous = this.previous(key, options);
    await this.item(key, options);
    const input = {
      ...this.base(key),
      ConditionExpression: 'version = :lastRevision',
      ExpressionAttributeValues: { ':lastRevision': numeral(previous?.version ?? 0) },
    };
    await this.conditional('DeleteItem', input, ERRORS.notFound);
    this.last.delete(key);
    return {};
  }

  async conditional(op, input, failure) {
    try {
      return await this.database.run(op, input);
    } catch (error) {
      throw error.name === 'ConditionalCheckFailedException' ? new GoError(failure) : error;
    }
  }

  // The record that an atomic call goes by: none, one of a given version, or the last this client saw.
  previous(key, options) {
    if (options.version === undefined) return this.last.get(key) ?? null;
    const last = this.last.get(key);
    return { expires: 0, ...last, version: options.version };
  }

  async lock(key, options) {
    const whole = { ttl: DEFAULT_TTL_S, ...options };
    const deadline = Date.now() + (options.timeout_ms ?? 30_000);
    for (;;) {
      try {
        const taken = await this.atomicPut(key, whole, null);
        if (options.renew) this.startRenewal(key, whole);
        return taken;
      } catch (error) {
        if (!(error instanceof GoError)) throw error;
        const pause = options.poll_ms ?? POLL_MS;
        if (options.poll === false || Date.now() + pause > deadline) throw new GoError(ERRORS.notAcquired);
        await sleep(pause);
      }
    }
  }

  async renew(key, options) {
    const previous = this.last.get(key);
    if (!previous) throw new Error(`renew: this client never locked ${key}`);
    return this.atomicPut(key, { ttl: DEFAULT_TTL_S, ...options }, previous);
  }

  startRenewal(key, options) {
    const timer = setInterval(
      () => this.renew(key, options).catch(() => this.stopRenewal(key)),
      (options.ttl * 1000) / 3,
    );
    this.renewals.set(key, timer);
  }

  stopRenewal(key) {
    clearInterval(this.renewals.get(key));
    this.renewals.delete(key);
    return {};
  }

  async unlock(key, options) {
    this.stopRenewal(key);
    return this.atomicDelete(key, options);
  }

  // Performs the call of that name. → its result, or { error } where the Go library would return one of its own.
  async call(name, key, options) {
    const calls = {
      put: () => this.put(key, options),
      get: () => this.get(key, options),
      exists: () => this.exists(key, options),
      list: () => this.list(options.prefix ?? key ?? '', options),
      delete: () => this.delete(key),
      'atomic-create': () => this.atomicPut(key, options, null),
      'atomic-put': () => this.atomicPut(key, options, options.create ? null : this.previous(key, options)),
      'atomic-delete': () => this.atomicDelete(key, options),
      lock: () => this.lock(key, options),
      renew: () => this.renew(key, options),
      unlock: () => this.unlock(key, options),
      'stop-renewal': async () => this.stopRenewal(key),
      held: async () => ({ renewing: this.renewals.has(key) }),
    };
    if (!calls[name]) throw new Error(`no such call: ${name}`);
    try {
      return await calls[name]();
    } catch (error) {
      if (error instanceof GoError) return { error: error.message };
      if (error.$metadata?.httpStatusCode) return { error: error.name, message: error.message };
      throw error;
    }
  }

  close() {
    for (const key of [...this.renewals.keys()]) this.stopRenewal(key);
  }
}
