// A durable log and a leader for all instances of a Worker, on nothing but R2.
//
//   POST /log           appends the body as a record      {"offset": "0"}
//   GET  /log?from=0    reads records from an offset on   {"records": [...], "next": "1"}
//   POST /lead?me=name  asks for the lease, or renews it  {"leader": "name", "token": "...", "forMs": 4400}

import { open, IfmatchError } from 'ifmatch/log';
import { r2Bucket } from 'ifmatch/r2';

export default {
  /** One instance of the protocols per request: they share nothing but the bucket. */
  async fetch(request, env) {
    const { log, lease } = await open(r2Bucket(env.BUCKET, { prefix: 'app' }));
    const { pathname, searchParams } = new URL(request.url);
    try {
      switch (`${request.method} ${pathname}`) {
        case 'POST /log':
          return await append(log, await request.bytes());
        case 'GET /log':
          return await read(log, BigInt(searchParams.get('from') ?? 0));
        case 'POST /lead':
          return await lead(lease, searchParams.get('me') ?? 'nobody');
        default:
          return json({ error: 'not found' }, 404);
      }
    } catch (error) {
      // The write was certainly not applied: the client may try again.
      if (error instanceof IfmatchError) return json({ error: error.message }, 503);
      throw error;
    }
  },
};

async function append(log, record) {
  const outcome = await log.append('orders', [record], { writer: { tag: 'shared' } });
  // Anything else here means that the record may be durable: the client must read
  // before it repeats it, or name a producer and a sequence number.
  if (outcome.tag !== 'appended') return json({ error: outcome.tag }, 500);
  return json({ offset: outcome.val.start });
}

async function read(log, offset) {
  const outcome = await log.read('orders', { offset }, { records: 100, bytes: 1 << 20 });
  if (outcome.tag === 'trimmed') return json({ error: 'trimmed', next: outcome.val.offset }, 410);
  const { entries, next } = outcome.val;
  const text = new TextDecoder();
  return json({ records: entries.map(({ body }) => text.decode(body)), next: next.offset });
}

async function lead(lease, me) {
  const outcome = await lease.acquire('leader', { holder: me, durationMs: 5000, note: '' });
  switch (outcome.tag) {
    case 'acquired': {
      // The token goes along with every write: `{ writer: { tag: 'fenced', val: token } }`.
      const { holder, token, validForMs } = outcome.val;
      return json({ leader: holder, token: token.epoch, forMs: validForMs });
    }
    case 'held':
      return json({ leader: outcome.val.holder, token: outcome.val.token.epoch, freeInMs: outcome.val.freeInMs });
    default:
      return json({ error: outcome.val }, 503);
  }
}

/** Offsets and tokens are 64 bits wide, which is more than a number of JSON holds. */
function json(value, status = 200) {
  const text = JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? String(part) : part));
  return new Response(`${text}\n`, { status, headers: { 'content-type': 'application/json' } });
}
