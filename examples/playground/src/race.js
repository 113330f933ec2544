// The first scene: two writers, one log.

import { World, writer } from './world.js';

const LOG = 'orders';
const LIMIT = { records: 1000, bytes: 1 << 20 };
const ORDERS = ['2 espressi', '1 tea', '3 cakes', '1 cocoa', '2 scones', '1 soup'];
const text = new TextDecoder();

export async function openRace() {
  const world = new World();
  const writers = { anna: await writer(world, 'anna'), ben: await writer(world, 'ben') };
  const reader = await writer(world, 'reader');
  // With the first log of a bucket, the protocols check whether it keeps conditions:
  // writes race there, too, but in another scene.
  reader.log.create(LOG, { graceMs: 3_600_000, clockMarginMs: 300_000 });
  world.requests.length = 0;
  let orders = 0;
  let turns = 0;

  function append({ who, log }) {
    const order = `${who}: ${ORDERS[orders % ORDERS.length]}`;
    orders += 1;
    const outcome = log.append(LOG, [new TextEncoder().encode(order)], { writer: { tag: 'shared' } });
    if (outcome.tag !== 'appended') throw new Error(outcome.tag);
    return outcome.val.start;
  }

  /** How often a writer found its place taken. */
  const lost = () => world.requests.filter(({ result }) => result === '412').length;

  /** One writer appends; the other one may have written since it last looked. */
  function alone(name) {
    const before = lost();
    const offset = append(writers[name]);
    return { offset, lost: lost() - before };
  }

  /**
   * Both append at once: when the request of one arrives at the bucket, that of the
   * other has just been carried out.
   */
  function both() {
    const [first, second] = turns % 2 === 0 ? ['anna', 'ben'] : ['ben', 'anna'];
    turns += 1;
    world.beforeWrite = () => append(writers[second]);
    append(writers[first]);
    return { loser: first, winner: second };
  }

  /** All records, as an instance reads them that has written nothing. */
  function records() {
    const seen = world.requests.length;
    const outcome = reader.log.read(LOG, { offset: 0n }, LIMIT);
    // Its requests are no part of the scene.
    world.requests.length = seen;
    return outcome.val.entries.map(({ offset, body }) => {
      const [who, order] = text.decode(body).split(': ');
      return { offset, who, order };
    });
  }

  return { world, alone, both, records, lost };
}
