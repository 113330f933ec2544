// Shows the second scene.

import { at, element, showRecords } from './element.js';

const NAMES = { anna: 'Anna', ben: 'Ben' };
const SVG = 'http://www.w3.org/2000/svg';
/** What the timeline shows at least. */
const SPAN_MS = 30_000;
const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;

export function showLead(lead, actions) {
  const status = lead.status();
  at('lead-clock').textContent = seconds(lead.elapsed());
  for (const candidate of Object.values(lead.candidates)) {
    const card = at(`candidate-${candidate.who}`) ?? addCard(candidate.who, actions);
    showCard(card, candidate);
  }
  at('lead-status').textContent = describe(status);
  at('lead-bar').style.width = status ? `${Math.min(100, (100 * status.freeInMs) / lead.durationMs)}%` : '0';
  showRecords(at('lead-log'), lead.records(), ({ who, token }) => `${who}, token ${token}`);
  const list = at('lead-events');
  for (const { at: when, who, what, kind } of lead.events.slice(list.children.length)) {
    const time = element('time', '', seconds(when));
    list.prepend(element('li', kind, time, element('b', who, NAMES[who]), ` ${what}`));
  }
  drawTimeline(lead);
}

function describe(status) {
  if (!status) return 'Nobody leads.';
  const { holder, token, freeInMs } = status;
  return freeInMs > 0
    ? `${NAMES[holder]} leads with token ${token}; free in ${seconds(freeInMs)} unless renewed`
    : `${NAMES[holder]} led with token ${token}; anybody may take over`;
}

/** A card with buttons. It stays, so that a click never misses it. */
function addCard(who, { freeze, wake, decide }) {
  const card = element('div', `candidate ${who}`, element('b', '', NAMES[who]), element('p', ''));
  card.id = `candidate-${who}`;
  const buttons = element('div', 'buttons');
  for (const [name, text, action] of [
    ['freeze', 'Freeze', freeze],
    ['wake', 'Wake up', wake],
    ['decide', 'Write a decision', decide],
  ]) {
    const button = element('button', '', text);
    button.id = `${name}-${who}`;
    button.onclick = () => action(who);
    buttons.append(button);
  }
  card.append(buttons);
  at('lead-candidates').append(card);
  return card;
}

/** A candidate as it sees itself. */
function showCard(card, { who, frozen, grant }) {
  const state = frozen ? 'Frozen.' : grant ? 'Believes to lead.' : 'Waits for the lease.';
  card.querySelector('p').textContent = state;
  card.classList.toggle('frozen', frozen);
  card.classList.toggle('leads', Boolean(grant));
  at(`freeze-${who}`).disabled = frozen;
  at(`wake-${who}`).disabled = !frozen;
  at(`decide-${who}`).disabled = frozen || !grant;
}

/** Terms as bars, refused writes as crosses. */
function drawTimeline(lead) {
  const end = Math.max(SPAN_MS, lead.elapsed());
  const x = (ms) => 70 + (ms / end) * 910;
  const row = { anna: 8, ben: 36 };
  const shapes = [];
  const add = (name, attributes, text) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text) made.textContent = text;
    shapes.push(made);
  };
  for (const [name, y] of Object.entries(row)) add('text', { x: 0, y: y + 15 }, NAMES[name]);
  const terms = lead.events.filter(({ kind }) => kind === 'leads');
  terms.forEach((term, index) => {
    // A term lasts until the next one begins, whatever its leader believes.
    const until = terms[index + 1]?.at ?? lead.elapsed();
    const width = Math.max(2, x(until) - x(term.at));
    add('rect', { class: `term ${term.who}`, x: x(term.at), y: row[term.who], width, height: 18, rx: 4 });
  });
  for (const { at: when, who } of lead.events.filter(({ kind }) => kind === 'fenced')) {
    add('text', { class: 'refused', x: x(when) - 5, y: row[who] + 15 }, '✕');
  }
  at('lead-timeline').replaceChildren(...shapes);
}
