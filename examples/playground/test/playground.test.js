// The page as somebody opens it: from a file, in Chromium, without a network. What is
// asserted is what it shows.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch } from '../../../hosts/js/chromium.js';

const file = new URL('../../../target/playground/index.html', import.meta.url);

let browser;
let page;
const faults = [];

before(async () => {
  browser = await launch();
  page = await browser.newPage();
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('request', (request) => {
    if (!/^(file|data):/.test(request.url())) faults.push(request.url());
  });
  await page.goto(file.href);
  await page.waitForSelector('body[data-ready]');
});
after(() => browser.close());

const texts = (selector) => page.locator(selector).allInnerTexts();
const number = async (selector) => Number(await page.locator(selector).innerText());

test('one writer alone: its records are there, and no race is lost', async () => {
  await page.click('#append-anna');
  await page.click('#append-anna');
  assert.equal((await texts('#race-log li')).length, 2);
  assert.equal(await number('#race-lost'), 0);
  // Three for the first append, which knows nothing, and one for the second.
  assert.equal(await number('#race-count'), 4);
  const [latest] = await texts('#race-requests tr');
  assert.match(latest, /anna\s+PUT\s+log\/orders\/\S+\s+If-None-Match: \*\s+200/);
});

test('both at once: one is refused, and both are in the log, each once', async () => {
  for (let turn = 0; turn < 4; turn += 1) await page.click('#append-both');
  const told = await page.locator('#race-told').innerText();
  assert.match(told, /^Anna was first\. Ben got 412/);
  const records = await texts('#race-log li');
  assert.deepEqual(
    records.map((record) => Number(/(\d+) · /.exec(record)[1])),
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
  );
  assert.equal(records.filter((record) => record.endsWith('anna')).length, 6);
  assert.equal(records.filter((record) => record.endsWith('ben')).length, 4);
  assert.equal(await number('#race-records'), 10);
  assert.ok((await number('#race-lost')) >= 4);
  const refused = (await texts('#race-requests tr')).filter((row) => row.includes('412'));
  assert.ok(refused.length >= 1, refused.join('\n'));
});

test('a lease changes hands, and the old leader is refused', async () => {
  await page.selectOption('#lead-speed', '20');
  await page.click('#lead-story');
  await page.waitForSelector('#lead-events .fenced', { timeout: 30_000 });
  await page.click('#lead-run');

  const events = (await texts('#lead-events li')).reverse();
  const leads = events.filter((event) => event.includes('leads, with token'));
  assert.equal(leads.length, 2, events.join('\n'));
  const [first, second] = leads.map((event) => /(Anna|Ben) leads, with token …(\d+)/.exec(event));
  assert.notEqual(first[1], second[1]);
  assert.ok(Number(second[2]) > Number(first[2]), 'tokens grow');

  const order = ['freezes', 'wakes up, and still believes to lead', 'is refused: the log has seen'];
  const places = order.map((what) => events.findIndex((event) => event.includes(what)));
  assert.deepEqual(places, [...places].sort((one, two) => one - two), events.join('\n'));
  for (const place of places) assert.ok(events[place]?.includes(first[1]), events.join('\n'));
  assert.ok(events[places[2]].includes(`seen …${second[2]}`), 'refused because of the second token');

  // No decision of the first leader stands behind one of the second.
  const records = await texts('#lead-log li');
  const writers = records.map((record) => (record.includes('anna') ? 'Anna' : 'Ben'));
  assert.ok(writers.includes(first[1]) && writers.includes(second[1]), writers.join());
  assert.ok(writers.lastIndexOf(first[1]) < writers.indexOf(second[1]), writers.join());
  assert.match(await page.locator('#lead-status').innerText(), new RegExp(`^${second[1]} leads`));
  assert.equal(await page.locator('#lead-timeline rect.term').count(), 2);
  assert.equal(await page.locator('#lead-timeline .refused').count(), 1);
});

test('by hand: freeze the leader, and the other one leads', async () => {
  const status = await page.locator('#lead-status').innerText();
  const leader = /^\w+/.exec(status)[0].toLowerCase();
  await page.click(`#freeze-${leader}`);
  await page.click('#lead-run');
  const other = leader === 'anna' ? 'Ben' : 'Anna';
  await page.waitForFunction(
    (name) => document.getElementById('lead-status').textContent.startsWith(`${name} leads`),
    other,
    { timeout: 30_000 },
  );
  await page.click('#lead-run');
  assert.ok(await page.locator(`#decide-${leader}`).isDisabled());
  await page.click(`#decide-${other.toLowerCase()}`);
  assert.ok((await texts('#lead-log li')).at(-1).includes(other.toLowerCase()));
});

test('nothing went wrong, and nothing left the page', () => {
  assert.deepEqual(faults, []);
});
