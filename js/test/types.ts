// Compiled, never run: what a user writes has the types of the WIT.

import type { R2Bucket } from '@cloudflare/workers-types';
import { open } from 'ifmatch';
import { open as openLog } from 'ifmatch/log';
import { r2Bucket } from 'ifmatch/r2';

export async function append(binding: R2Bucket, record: Uint8Array): Promise<bigint | string> {
  const { log, lease } = await open(r2Bucket(binding, { prefix: 'app' }));
  const outcome = await log.append('orders', [record], { writer: { tag: 'shared' } });
  if (outcome.tag === 'appended') return outcome.val.start;

  const acquired = await lease.acquire('leader', { holder: 'me', durationMs: 5000, note: '' });
  if (acquired.tag !== 'acquired') return acquired.tag;
  const { token } = acquired.val;
  await log.append('orders', [record], { writer: { tag: 'fenced', val: token } });

  // @ts-expect-error a token is needed
  await log.append('orders', [record], { writer: { tag: 'fenced' } });
  // @ts-expect-error records are bytes
  await log.append('orders', ['text'], { writer: { tag: 'shared' } });
  return 'done';
}

export async function tail(binding: R2Bucket): Promise<bigint> {
  const part = await openLog(r2Bucket(binding, { prefix: 'app' }));
  // @ts-expect-error only the whole has manifests
  part.manifest;
  return (await part.log.tail('orders')).offset;
}
