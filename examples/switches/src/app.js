// Three protocols, one job each: the log takes proposals from anybody, in one order;
// the lease picks the one that applies them; and the manifest has all positions,
// together with how far the log has been applied, so that both change at once.

import { acquire } from 'ifmatch:protocols/lease@0.1.0';
import { append, read } from 'ifmatch:protocols/log@0.1.0';
import { commit, latest } from 'ifmatch:protocols/manifest@0.1.0';

const PROPOSALS = 'switches/proposals';
const LEADER = 'switches/leader';
const POSITIONS = 'switches/positions';
/** The key of the first proposal that is not applied. Switches have a prefix. */
const NEXT = 'next';
const SWITCH = 'switch/';
const LIMIT = { records: 100, bytes: 1 << 20 };

const encode = (text) => new TextEncoder().encode(text);
const decode = (bytes) => new TextDecoder().decode(bytes);

export const switches = {
  propose: (proposal) =>
    told(() => {
      const record = encode(JSON.stringify(proposal));
      const outcome = append(PROPOSALS, [record], { writer: { tag: 'shared' } });
      // Anything else: it may be in the log. Proposing the same twice is harmless.
      if (outcome.tag !== 'appended') throw outcome.tag;
      return outcome.val.start;
    }),

  apply: (me) =>
    told(() => {
      const leading = acquire(LEADER, { holder: me, durationMs: 10_000, note: '' });
      if (leading.tag === 'held') return { tag: 'led-by', val: leading.val.holder };
      if (leading.tag !== 'acquired') throw leading.val;

      const { version, next } = positions();
      const page = read(PROPOSALS, { offset: next }, LIMIT);
      if (page.tag !== 'records') throw 'proposals were trimmed before they were applied';
      const { entries } = page.val;
      if (entries.length === 0) return { tag: 'proposals', val: 0 };

      // The last proposal for a switch counts; a manifest takes each key once.
      const wanted = entries.map(({ body }) => JSON.parse(decode(body)));
      const edits = new Map(wanted.map(({ name, position }) => [SWITCH + name, position]));
      edits.set(NEXT, String(page.val.next.offset));
      const outcome = commit(POSITIONS, {
        base: version,
        // Whoever else has committed since, has applied the same proposals.
        dependsOn: { tag: 'all' },
        edits: [...edits].map(([key, value]) => ({
          tag: 'set',
          val: { key, value: encode(value), blobs: [] },
        })),
        // The lease is a hint. The token is the safety: it goes along with every write.
        writer: { tag: 'fenced', val: leading.val.token },
        author: me,
        message: `proposals ${next} to ${page.val.next.offset}`,
      });
      if (outcome.tag !== 'committed') throw `not applied: ${outcome.tag}`;
      return { tag: 'proposals', val: entries.length };
    }),

  current: () =>
    told(() => {
      const { version, items } = positions();
      const found = items.filter(({ key }) => key.startsWith(SWITCH));
      return {
        version,
        switches: found.map(({ key, value }) => ({
          name: key.slice(SWITCH.length),
          position: decode(value),
        })),
      };
    }),
};

/** What the manifest says. */
function positions() {
  const snapshot = latest(POSITIONS);
  if (!snapshot) return { version: 0n, next: 0n, items: [] };
  const { summary, items } = snapshot;
  const next = items.find(({ key }) => key === NEXT);
  return { version: summary.version, next: BigInt(decode(next.value)), items };
}

/** Passes an error of the protocols on as text. */
function told(call) {
  try {
    return call();
  } catch (thrown) {
    const { tag, val } = thrown?.payload ?? {};
    throw tag ? `${tag}: ${val}` : String(thrown);
  }
}
