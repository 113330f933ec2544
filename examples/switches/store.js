// The store of this repository's tests, for whoever has no other at hand.

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** The last setting that it prints. */
const LAST = 'IFMATCH_BUCKET';

/** Starts it, puts its settings into the environment, and returns how to stop it. */
export async function start() {
  const cargo = process.env.CARGO ?? 'cargo';
  const words = ['run', '--quiet', '--package', 'host-test', '--bin', 'serve-store'];
  const cwd = fileURLToPath(new URL('../..', import.meta.url));
  // A group of its own, because cargo starts the store as another process.
  const store = spawn(cargo, words, { cwd, detached: true, stdio: ['ignore', 'pipe', 'inherit'] });
  const stop = () => process.kill(-store.pid);
  for await (const line of createInterface({ input: store.stdout })) {
    const [name, ...value] = line.split('=');
    process.env[name] = value.join('=');
    if (name === LAST) return stop;
  }
  throw new Error('the store did not start');
}
