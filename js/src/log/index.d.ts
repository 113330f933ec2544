// What `ifmatch/log` offers: as `ifmatch`, with fewer interfaces and half the size.

import type { Bucket, Instance } from '../index.js';

/** The log, leases, and what calls have used. */
export type LogInstance = Pick<Instance, 'log' | 'lease' | 'receipts'>;

/** Starts an instance, as `open` of `ifmatch` does. */
export function open(bucket: Bucket): Promise<LogInstance>;

export { IfmatchError } from '../index.js';
