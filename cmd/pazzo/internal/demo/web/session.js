// The session as the store has it, from a stream of server-sent events.

import { must } from './net.js';

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const day = new Intl.DateTimeFormat(undefined, { weekday: 'short' });

const time = (t) => {
  const date = new Date(t);
  const today = date.toDateString() === new Date().toDateString();
  return today ? clock.format(date) : `${day.format(date)} ${clock.format(date)}`;
};

const span = (t) => {
  const minutes = Math.round(t / 60000);
  return minutes % 60 ? `after ${minutes} min` : `after ${Math.round(minutes / 60)} h`;
};

export function setUpSession() {
  const root = document.getElementById('session');
  const status = document.getElementById('stream');
  const rows = root.querySelector('tbody');
  let source = null;

  const say = (text, state) => {
    if (status.textContent !== text) status.textContent = text;
    root.dataset.state = state;
  };

  // Opens the stream unless it is open. It ends when its cookie no longer opens
  // the session; then the cookie may be a new one, so it is tried once more.
  function connect() {
    if (source) return;
    let seen = false;
    const mine = new EventSource('/events');
    source = mine;
    mine.addEventListener('session', (event) => {
      seen = true;
      say('Live', 'live');
      show(JSON.parse(event.data));
    });
    mine.addEventListener('gone', () => {
      mine.close();
      source = null;
      if (seen) {
        say('Ended', 'ended');
        setTimeout(connect, 150);
      } else {
        say('No session: the next write makes one', 'ended');
      }
    });
    mine.addEventListener('trouble', (event) => say(`The store has trouble: ${JSON.parse(event.data)}`, 'trouble'));
    mine.addEventListener('error', () => {
      if (mine.readyState === EventSource.CLOSED) source = null;
      say('The demo does not answer', 'trouble');
    });
  }

  const set = (element, text) => {
    if (element.textContent === text) return;
    element.textContent = text;
    element.classList.remove('is-changed');
    requestAnimationFrame(() => element.classList.add('is-changed'));
  };

  function show(s) {
    const facts = {
      handle: s.handle,
      user: s.user ? `${s.user}, since ${time(s.loggedIn)}` : 'nobody',
      revision: String(s.revision),
      generation: String(s.generation),
      created: time(s.created),
      touched: time(s.touched),
      idle: span(s.idle),
      deadline: time(s.deadline),
    };
    for (const [name, text] of Object.entries(facts)) set(root.querySelector(`[data-fact="${name}"]`), text);

    const names = Object.keys(s.fields).sort();
    for (const row of [...rows.rows]) if (!names.includes(row.dataset.field)) row.remove();
    names.forEach((name, i) => {
      let row = rows.rows[i];
      if (row?.dataset.field !== name) {
        row = rows.insertRow(i);
        row.dataset.field = name;
        const head = document.createElement('th');
        head.scope = 'row';
        head.textContent = name;
        row.append(head);
        row.insertCell();
      }
      set(row.cells[1], JSON.stringify(s.fields[name]));
    });
  }

  const actions = {
    add: () => must('POST', '/mux/pazzo/add/apples'),
    login: () => must('POST', '/mux/pazzo/login', { user: 'ann' }),
    logout: () => must('POST', '/mux/pazzo/logout'),
  };
  document.getElementById('actions').addEventListener('click', async (event) => {
    const action = actions[event.target.dataset?.do];
    if (!action) return;
    try {
      await action();
      connect();
    } catch (error) {
      say(error.message, 'trouble');
    }
  });

  connect();
  return connect;
}
