// An R2 bucket for tests: the one of workerd, through wrangler's own API, and ways to
// make it fail.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { getPlatformProxy } from 'wrangler';

/** An empty R2 bucket, and `dispose`. */
export async function r2() {
  const folder = await mkdtemp(join(tmpdir(), 'ifmatch-r2-'));
  const configPath = join(folder, 'wrangler.json');
  const configuration = {
    name: 'test',
    compatibility_date: '2026-11-01',
    r2_buckets: [{ binding: 'BUCKET', bucket_name: 'test' }],
  };
  await writeFile(configPath, JSON.stringify(configuration));
  const proxy = await getPlatformProxy({ configPath, persist: false });
  return {
    binding: proxy.env.BUCKET,
    async dispose() {
      await proxy.dispose();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** A binding whose `method` is another function, which gets the original one. */
export function wrapped(binding, method, replacement) {
  return new Proxy(binding, {
    get(target, name) {
      const original = (...args) => target[name](...args);
      return name === method ? (...args) => replacement(original, ...args) : original;
    },
  });
}

export const bytes = (text) => new TextEncoder().encode(text);
export const text = (body) => new TextDecoder().decode(body);
export const absent = { tag: 'absent' };
export const matches = (version) => ({ tag: 'matches', val: version });
export const whole = (key) => ({ key, span: { tag: 'all' } });
export const first = (key, count) => ({ key, span: { tag: 'first', val: count } });
