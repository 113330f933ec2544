// Shows the first scene.

import { at, element, showRecords } from './element.js';

/** How many requests are listed. */
const LISTED = 14;

export function showRace(race, told) {
  const { requests } = race.world;
  const records = race.records();
  if (told) at('race-told').textContent = told;
  showRecords(at('race-log'), records, ({ who }) => who);
  at('race-requests').replaceChildren(
    ...requests
      .slice(-LISTED)
      .reverse()
      .map(({ who, verb, key, condition, result }) => {
        const outcome = verb === 'PUT' ? (result === '412' ? 'lost' : 'won') : '';
        const answer = result === '412' ? '412: somebody was there' : result;
        return element(
          'tr',
          '',
          element('td', who, who),
          element('td', '', verb),
          element('td', 'key', key),
          element('td', '', condition),
          element('td', outcome, answer),
        );
      }),
  );
  at('race-records').textContent = records.length;
  at('race-lost').textContent = race.lost();
  at('race-count').textContent = requests.length;
}
