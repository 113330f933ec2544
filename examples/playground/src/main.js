// Joins the two scenes with what the page shows.

import { openLead } from './lead.js';
import { openRace } from './race.js';
import { showLead } from './view-lead.js';
import { showRace } from './view-race.js';

const NAMES = { anna: 'Anna', ben: 'Ben' };
const other = { anna: 'ben', ben: 'anna' };
const at = (id) => document.getElementById(id);

const race = await openRace();
for (const name of ['anna', 'ben']) {
  at(`append-${name}`).onclick = () => {
    const { offset, lost } = race.alone(name);
    const how = lost
      ? `Its place was taken since it last looked, so it took the next one: ${lost} × 412.`
      : 'Nobody was in the way.';
    showRace(race, `${NAMES[name]} has offset ${offset}. ${how}`);
  };
}
at('append-both').onclick = () => {
  const { loser, winner } = race.both();
  showRace(
    race,
    `${NAMES[winner]} was first. ${NAMES[loser]} got 412, read who was there, and took the next place.`,
  );
};
showRace(race);

const lead = await openLead();
/** Real time between two looks at the clock. */
const FRAME_MS = 50;
let timer;
let story;

function run() {
  timer ??= setInterval(() => {
    lead.advance(FRAME_MS * Number(at('lead-speed').value));
    story?.next();
    show();
  }, FRAME_MS);
  show();
}

function pause() {
  clearInterval(timer);
  timer = undefined;
  show();
}

function show() {
  at('lead-run').textContent = timer ? 'Stop the clock' : 'Start the clock';
  showLead(lead, {
    freeze: (name) => (lead.freeze(name), show()),
    wake: (name) => (lead.wake(name), show()),
    decide: (name) => (lead.decide(name), show()),
  });
}

/** Freezes whoever leads, waits until the other one does, and wakes the first. */
function* play() {
  while (!lead.status()) yield;
  const { holder } = lead.status();
  const until = lead.elapsed() + 3000;
  while (lead.elapsed() < until) yield;
  lead.decide(holder);
  lead.freeze(holder);
  while (lead.status().holder === holder) yield;
  const later = lead.elapsed() + 2000;
  while (lead.elapsed() < later) yield;
  lead.decide(other[holder]);
  lead.wake(holder);
  story = undefined;
}

at('lead-run').onclick = () => (timer ? pause() : run());
at('lead-story').onclick = () => {
  story = play();
  run();
};
show();
document.body.dataset.ready = 'true';
