// Elements from data; text is never taken for markup.

export const at = (id) => document.getElementById(id);

/** An element with a class, and texts or elements in it. */
export function element(tag, className, ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

/** Records as a row of cards. Those that are there already stay. */
export function showRecords(list, records, note) {
  for (const record of records.slice(list.children.length)) {
    const small = element('small', '', `${record.offset} · ${note(record)}`);
    list.append(element('li', record.who, record.order, small));
  }
}
