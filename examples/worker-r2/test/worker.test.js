// The Worker as a user runs it: `wrangler dev` with R2 on this machine, requests over
// HTTP; and its bundle as it would be deployed.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { unstable_startWorker } from 'wrangler';

const project = fileURLToPath(new URL('..', import.meta.url));
const BUNDLE_BYTES_MAX = 120_000;
const WRITERS = 64;

let folder;
let worker;
let url;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ifmatch-worker-'));
  worker = await unstable_startWorker({
    config: join(project, 'wrangler.jsonc'),
    dev: {
      server: { hostname: '127.0.0.1', port: 0 },
      inspector: false,
      persist: join(folder, 'state'),
      logLevel: 'error',
      watch: false,
    },
  });
  url = (await worker.url).origin;
});
after(async () => {
  await worker.dispose();
  await rm(folder, { recursive: true, force: true });
});

async function call(method, path, body) {
  const answer = await fetch(url + path, { method, body });
  return { status: answer.status, ...(await answer.json()) };
}

test(`${WRITERS} requests append to one log at once: none lost, none doubled`, async () => {
  const bodies = Array.from({ length: WRITERS }, (_, index) => `order ${index}`);
  const answers = await Promise.all(bodies.map((body) => call('POST', '/log', body)));
  const { records, next } = await call('GET', '/log');
  assert.equal(records.length, WRITERS);
  assert.equal(next, String(WRITERS));
  for (const [index, { status, offset }] of answers.entries()) {
    assert.equal(status, 200);
    assert.equal(records[Number(offset)], bodies[index]);
  }
  assert.equal(new Set(answers.map(({ offset }) => offset)).size, WRITERS);
});

test('reading goes on where it ended', async () => {
  const { next } = await call('GET', '/log');
  await call('POST', '/log', 'the next one');
  const { records } = await call('GET', `/log?from=${next}`);
  assert.deepEqual(records, ['the next one']);
});

test('one leader at a time', async () => {
  const anna = await call('POST', '/lead?me=anna');
  assert.equal(anna.leader, 'anna');
  assert.ok(anna.forMs > 0);
  const bob = await call('POST', '/lead?me=bob');
  assert.equal(bob.leader, 'anna');
  assert.equal(bob.token, anna.token);
  assert.ok(bob.freeInMs > 0);
});

test('a wrong request is answered', async () => {
  assert.equal((await call('GET', '/')).status, 404);
});

test(`the bundle has at most ${BUNDLE_BYTES_MAX} bytes with gzip`, async (context) => {
  const manifest = createRequire(import.meta.url).resolve('wrangler/package.json');
  const out = join(folder, 'bundle');
  const words = ['deploy', '--dry-run', '--outdir', out, '--config', join(project, 'wrangler.jsonc')];
  execFileSync(process.execPath, [join(dirname(manifest), 'bin/wrangler.js'), ...words], {
    stdio: 'pipe',
    env: { ...process.env, WRANGLER_SEND_METRICS: 'false' },
  });
  const names = (await readdir(out)).filter((name) => /\.(js|wasm)$/.test(name));
  assert.ok(names.some((name) => name.endsWith('.wasm')), 'the component is in the bundle');
  let total = 0;
  for (const name of names) {
    const bytes = gzipSync(await readFile(join(out, name)), { level: 9 }).length;
    context.diagnostic(`${name} ${bytes}`);
    total += bytes;
  }
  context.diagnostic(`${total} bytes with gzip`);
  assert.ok(total <= BUNDLE_BYTES_MAX, `${total} bytes`);
});
