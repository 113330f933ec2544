// What the package offers, with the types that jco makes of the WIT. The WIT in
// `wit/protocols` says what each function does.

import type { R2Bucket } from '@cloudflare/workers-types';
import type * as Port from '../generated/interfaces/ifmatch-bucket-bucket.js';
import type * as Deletion from '../generated/interfaces/ifmatch-bucket-deletion.js';
import type { Error as PortError } from '../generated/interfaces/ifmatch-bucket-types.js';
import type { Root } from '../generated/protocols.js';

type Promised<F> = F extends (...args: infer A) => infer R
  ? (...args: A) => Promise<Awaited<R>>
  : never;
/** The functions of an interface, which all give promises. */
type Calls<I> = { [K in keyof I as I[K] extends Function ? K : never]: Promised<I[K]> };
type May<F> = F extends (...args: infer A) => infer R ? (...args: A) => R | Promise<R> : never;
/** The functions of an interface, which may give promises. */
type Provided<I> = { [K in keyof I as I[K] extends Function ? K : never]: May<I[K]> };

/** A provider of `ifmatch:bucket`: it throws the `PortError` that WIT gives as `err`. */
export interface Bucket {
  bucket: Provided<typeof Port>;
  deletion: Provided<typeof Deletion>;
}
export type { PortError };

/** One interface for each of the protocols: `log`, `lease` and so on. */
export type Instance = {
  [K in keyof Root as K extends `${string}:${string}` | 'types' ? never : K]: Calls<Root[K]>;
};

/**
 * Starts an instance of the protocols over a bucket.
 *
 * An instance does one call after the other; open another one, which takes less than
 * a millisecond, to do more at once. It remembers tails and leases, so that calls
 * that follow each other cost less.
 */
export function open(bucket: Bucket): Promise<Instance>;

/** Why a call failed. A write that failed has certainly not been applied. */
export class IfmatchError extends Error {
  /** The case of the WIT variant, such as `access-denied`. */
  code: string;
  /** What the case carries: a text, or for `throttled` the milliseconds to wait. */
  value: unknown;
}

export interface R2Options {
  /** Put before every key, with a slash. Installations with different ones do not meet. */
  prefix?: string;
  /** The largest body written or read; 32 MiB by default. */
  maxObjectBytes?: number;
  /** What the bodies of one `getMany` hold together; 48 MiB by default. */
  maxBatchBytes?: number;
  /** After which time a request counts as lost; 30000 by default. */
  requestTimeoutMs?: number;
  /** The platform's clock, in milliseconds; none if it gives `undefined`. */
  now?: () => number | undefined;
}

/** Provides the port on an R2 binding, such as `env.BUCKET`. */
export function r2Bucket(binding: R2Bucket, options?: R2Options): Bucket;

/** Provides the port in memory. */
export function memoryBucket(options?: { now?: () => number }): Bucket & { keys(): string[] };
