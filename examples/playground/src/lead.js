// The second scene: one lease, and a leader that falls silent.

import { World, writer } from './world.js';

const LEASE = 'leader';
const LOG = 'decisions';
const DURATION_MS = 5000;
const LIMIT = { records: 1000, bytes: 1 << 20 };
/** How often a candidate acts. */
const STEP_MS = 500;
const text = new TextDecoder();

export async function openLead() {
  const world = new World();
  const reader = await writer(world, 'reader');
  /** What each candidate knows, and whether it runs. */
  const candidates = {};
  for (const name of ['anna', 'ben']) {
    candidates[name] = {
      ...(await writer(world, name)),
      frozen: false,
      /** What it believes to hold. */
      grant: undefined,
      renewAt: 0,
      askAt: 0,
      decisions: 0,
    };
  }
  /** What happened, for people. */
  const events = [];
  const start = world.now;
  const tell = (who, what, kind = '') => events.push({ at: world.now - start, who, what, kind });

  /** A candidate does what is due: it renews what it has, or asks for what is free. */
  function act(candidate) {
    const { who, lease } = candidate;
    if (candidate.grant && world.now >= candidate.renewAt) {
      const outcome = lease.renew(candidate.grant, DURATION_MS);
      if (outcome.tag === 'renewed') {
        hold(candidate, outcome.val);
      } else {
        candidate.grant = undefined;
        tell(who, 'learns that it no longer leads', 'lost');
      }
    }
    if (!candidate.grant && world.now >= candidate.askAt) {
      const outcome = lease.acquire(LEASE, { holder: who, durationMs: DURATION_MS, note: '' });
      if (outcome.tag === 'acquired') {
        hold(candidate, outcome.val);
        tell(who, `leads, with token ${short(outcome.val.token)}`, 'leads');
        decide(who);
      } else {
        candidate.askAt = world.now + Math.max(outcome.val.freeInMs, STEP_MS);
      }
    }
  }

  function hold(candidate, grant) {
    candidate.grant = grant;
    candidate.renewAt = world.now + DURATION_MS / 3;
  }

  /** A leader writes, and its token goes along. It does not ask anybody first. */
  function decide(name) {
    const candidate = candidates[name];
    if (!candidate.grant) return;
    candidate.decisions += 1;
    const body = new TextEncoder().encode(`${name}: decision ${candidate.decisions}`);
    const { token } = candidate.grant;
    const outcome = candidate.log.append(LOG, [body], { writer: { tag: 'fenced', val: token } });
    if (outcome.tag === 'appended') {
      tell(name, `writes decision ${candidate.decisions}, at offset ${outcome.val.start}`, 'wrote');
    } else {
      tell(
        name,
        `tries to write with token ${short(token)}, and is refused: the log has seen ${short(outcome.val)}`,
        'fenced',
      );
      candidate.grant = undefined;
    }
  }

  /** Turns the clock, and lets everybody act who is not frozen. */
  function advance(ms) {
    for (let left = ms; left > 0; left -= STEP_MS) {
      world.now += Math.min(left, STEP_MS);
      for (const candidate of Object.values(candidates)) {
        if (!candidate.frozen) act(candidate);
      }
    }
  }

  function freeze(name) {
    candidates[name].frozen = true;
    tell(name, 'freezes: nothing of it runs, and it does not know', 'froze');
  }

  /** The first thing that it does is what it was about to do. */
  function wake(name) {
    candidates[name].frozen = false;
    tell(name, 'wakes up, and still believes to lead', 'woke');
    decide(name);
  }

  /** What the lease says, as an instance reads it that is no candidate. */
  function status() {
    const seen = world.requests.length;
    const observed = reader.lease.observe(LEASE);
    world.requests.length = seen;
    return observed && { holder: observed.holder, token: short(observed.token), freeInMs: observed.freeInMs };
  }

  /** All decisions in the log. */
  function records() {
    const seen = world.requests.length;
    const outcome = reader.log.read(LOG, { offset: 0n }, LIMIT);
    world.requests.length = seen;
    return outcome.val.entries.map(({ offset, token, body }) => {
      const [who, what] = text.decode(body).split(': ');
      return { offset, who, order: what, token: short(token) };
    });
  }

  /** The last digits of a token, which tell them apart. */
  const short = (token) => `…${String(token.epoch).slice(-6)}`;

  return {
    world,
    candidates,
    events,
    durationMs: DURATION_MS,
    elapsed: () => world.now - start,
    advance,
    freeze,
    wake,
    decide,
    status,
    records,
  };
}
