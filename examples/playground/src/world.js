// A world in the page's memory: a bucket, a clock that somebody turns, and writers,
// each with an instance of `protocols.wasm`.

import { toError } from 'ifmatch/error';
import { memoryBucket } from 'ifmatch/memory';
import { instantiate } from 'generated/protocols.js';
import core from 'generated/protocols.core.wasm';
import core2 from 'generated/protocols.core2.wasm';
import core3 from 'generated/protocols.core3.wasm';

const bytes = {
  'protocols.core.wasm': core,
  'protocols.core2.wasm': core2,
  'protocols.core3.wasm': core3,
};
const compiled = Object.fromEntries(
  Object.entries(bytes).map(([name, content]) => [name, new WebAssembly.Module(content)]),
);

/** The bucket and the clock that all writers share. */
export class World {
  /** Every request in the order in which the bucket answered it. */
  requests = [];
  /** Milliseconds since the Unix epoch. */
  now = Date.UTC(2026, 0, 1, 12);
  /** Called once, right before the next write is carried out. */
  beforeWrite = undefined;
  #store = memoryBucket({ now: () => this.now });

  /** The keys in the bucket. */
  keys() {
    return this.#store.keys();
  }

  /** The port for one writer: the bucket, with a note of each request. */
  portFor(who) {
    const { bucket, deletion } = this.#store;
    const note = (verb, key, condition, result) => {
      this.requests.push({ who, verb, key, condition, result, at: this.now });
    };
    const get = (read) => {
      const reply = bucket.get(read);
      note('GET', read.key, '', { absent: '404', unchanged: '304', object: '200' }[reply.found.tag]);
      return reply;
    };
    const put = (write) => {
      const interrupt = this.beforeWrite;
      this.beforeWrite = undefined;
      interrupt?.();
      const { tag, val } = write.precondition;
      const outcome = bucket.put(write);
      const condition = tag === 'absent' ? 'If-None-Match: *' : `If-Match: ${val.token}`;
      note('PUT', write.key, condition, outcome.tag === 'written' ? '200' : '412');
      return outcome;
    };
    const each = (list, call) => list.map((item) => ({ tag: 'ok', val: call(item) }));
    return {
      'ifmatch:bucket/bucket': {
        get,
        getMany: (reads) => each(reads, get),
        put,
        putMany: (writes) => each(writes, put),
        listObjects: (prefix, startAfter, limit) => {
          const page = bucket.listObjects(prefix, startAfter, limit);
          note('LIST', prefix, '', `${page.objects.length} found`);
          return page;
        },
      },
      'ifmatch:bucket/deletion': deletion,
      'ifmatch:bucket/types': {},
    };
  }
}

/** A point on the world's clock. */
class Pollable {
  constructor(world, due) {
    this.world = world;
    this.due = due;
  }

  ready() {
    return this.world.now >= this.due;
  }

  /** Waiting is turning the clock. */
  block() {
    this.world.now = Math.max(this.world.now, this.due);
  }
}

/** An instance of the protocols. */
export async function writer(world, who) {
  const root = await instantiate((name) => compiled[name], {
    ...world.portFor(who),
    'wasi:clocks/monotonic-clock': {
      now: () => BigInt(Math.floor(world.now)) * 1_000_000n,
      subscribeDuration: (ns) => new Pollable(world, world.now + Number(ns) / 1e6),
    },
    'wasi:io/poll': { Pollable },
    'wasi:random/random': {
      getRandomU64: () => crypto.getRandomValues(new BigUint64Array(1))[0],
    },
  });
  const calls = (functions) =>
    Object.fromEntries(
      Object.entries(functions).map(([name, call]) => [
        name,
        (...args) => {
          try {
            return call(...args);
          } catch (thrown) {
            throw toError(thrown);
          }
        },
      ]),
    );
  return { who, log: calls(root.log), lease: calls(root.lease) };
}
