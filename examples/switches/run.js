// Three instances use the application: on the store that the environment names, or on
// one that is started for it.

import { start } from './store.js';

const stop = process.env.IFMATCH_BUCKET ? () => {} : await start();
try {
  const { instance } = await import('./instance.js');
  const [anna, ben, carl] = [await instance(), await instance(), await instance()];
  const show = (who, what, result) => {
    const text = JSON.stringify(result, (_, part) => (typeof part === 'bigint' ? Number(part) : part));
    console.log(`${who.padEnd(5)} ${what.padEnd(28)} ${text}`);
  };
  const propose = (name, position) => ({ name, position });

  show('anna', 'proposes dark-mode on', anna.propose(propose('dark-mode', 'on')));
  show('ben', 'proposes search new', ben.propose(propose('search', 'new')));
  show('ben', 'proposes dark-mode automatic', ben.propose(propose('dark-mode', 'automatic')));
  show('carl', 'reads', carl.current());
  show('anna', 'applies', anna.apply('anna'));
  show('ben', 'tries to apply, too', ben.apply('ben'));
  show('carl', 'reads', carl.current());
} finally {
  stop();
}
