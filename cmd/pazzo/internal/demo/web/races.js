// Logout and login against requests in flight: what was measured, as a picture and
// in words.

import { racer, config, must, mustKeepCookies, portsFor, send } from './net.js';

const USER = 'ann';
const SIDES = [
  ['pazzo', 'Pazzo'],
  ['classic', 'Classic session'],
];

export function setUpRaces(onSession) {
  for (const kind of ['logout', 'login']) {
    const root = document.getElementById(kind);
    const button = root.querySelector('button');
    const results = root.querySelector('.results');
    button.addEventListener('click', async () => {
      if (button.getAttribute('aria-disabled')) return;
      button.setAttribute('aria-disabled', 'true');
      results.setAttribute('aria-busy', 'true');
      try {
        const reports = [];
        for (const [side, name] of SIDES) reports.push(report(kind, side, name, await race(kind, side, onSession)));
        results.replaceChildren(...reports);
      } catch (error) {
        const p = document.createElement('p');
        p.className = 'verdict is-trouble';
        p.textContent = error.message;
        results.replaceChildren(p);
      }
      results.removeAttribute('aria-busy');
      button.removeAttribute('aria-disabled');
    });
  }
}

// Has the writers under way, logs out or in meanwhile, and returns what happened.
async function race(kind, side, onSession) {
  await must('POST', `/mux/${side}/fresh`, kind === 'logout' ? { user: USER } : {});
  if (side === 'pazzo') await mustKeepCookies();
  onSession();
  const { run } = await must('POST', '/mux/race');
  const ports = portsFor(config.writers);
  const write = (i) =>
    send('POST', `${racer(i)}/${side}/add/${config.items[i % config.items.length]}`, { port: i % ports, run, i });
  const numbers = Array.from({ length: config.writers }, (_, i) => i);
  const writes = Promise.all(numbers.map(write));
  const event = await must('POST', `/mux/${side}/${kind}`, { port: ports, run, user: USER });
  const answers = await writes;

  // What was refused because of a new cookie is repeated with it.
  const refused = numbers.filter((i) => answers[i].status === 409);
  const repeated = kind === 'login' ? await Promise.all(refused.map(write)) : [];
  const state = await must('GET', `/mux/${side}/state`);
  onSession();

  const strokes = answers
    .filter((a) => a.body.to !== undefined)
    .map((a) => ({
      from: a.body.from - event.at,
      to: a.body.to - event.at,
      end: a.status === 409 ? 'refused' : a.ok && a.body.to > event.at ? 'after' : a.ok ? 'before' : 'failed',
    }))
    .sort((a, b) => a.to - b.to);
  const count = (end) => strokes.filter((s) => s.end === end).length;
  return {
    strokes,
    inFlight: strokes.filter((s) => s.from < 0 && s.end !== 'before').length,
    before: count('before'),
    after: count('after'),
    refused: count('refused'),
    firstAfter: strokes.find((s) => s.end === 'after')?.to,
    failed: answers.filter((a) => !a.ok && a.status !== 409).length,
    repeated: repeated.filter((a) => a.ok).length,
    acknowledged: answers.concat(repeated).filter((a) => a.ok).length,
    kept: Object.values(state.cart ?? {}).reduce((sum, n) => sum + n, 0),
    live: state.live,
    user: state.user,
  };
}

const already = (r) => (r.before ? `; ${r.before} had been answered` : '');
const requests = (n) => (n === 1 ? '1 request' : `${n} requests`);
const ms = (t) => (t < 10 ? `${t.toFixed(1)} ms` : `${Math.round(t)} ms`);

// What happened, as lines of a verdict ('good', 'bad' or '') and a text.
const words = {
  logout(side, r) {
    const lines = [['', `${requests(r.inFlight)} were in flight when ${USER} logged out${already(r)}.`]];
    if (r.refused) {
      lines.push(['good', `${r.refused} came to write after that. Each was told that the session has ended, and changed nothing.`]);
    }
    if (r.after) {
      const more = r.after > 1 ? ` ${r.after - 1} more did so after it.` : '';
      lines.push(['bad', `A request in flight saved its copy ${ms(r.firstAfter)} after the logout.${more}`]);
    }
    if (r.user) {
      lines.push(['bad', `The session is alive again: ${r.user} is still logged in.`]);
    } else if (r.live || r.after) {
      lines.push(['bad', 'The session is back in the store, though this browser is no longer logged in.']);
    } else {
      lines.push(['good', `The session stays ended. ${USER} is logged out.`]);
    }
    return lines;
  },

  login(side, r) {
    const lines = [['', `${requests(r.inFlight)} with the old cookie were in flight when ${USER} logged in${already(r)}.`]];
    if (r.refused) {
      lines.push(['good', `${r.refused} were told that their cookie has been replaced. The new cookie and the session stayed as they were.`]);
    }
    if (r.repeated) {
      lines.push(['good', `The page repeated ${r.repeated} with the new cookie.`]);
    }
    if (r.after) {
      const what = side === 'classic' ? 'saved the old session again and set its cookie' : 'wrote';
      lines.push(['bad', `${r.after} ${what}, the first ${ms(r.firstAfter)} after the login.`]);
    }
    lines.push(r.user === USER
      ? ['good', `${USER} is logged in.`]
      : ['bad', `The browser has the old cookie back: ${USER} is not logged in any more.`]);
    lines.push(r.kept === r.acknowledged
      ? ['good', `All ${r.kept} acknowledged items are in the cart.`]
      : ['bad', `Of ${r.acknowledged} acknowledged items the cart holds ${r.kept}.`]);
    return lines;
  },
};

function report(kind, side, name, r) {
  const article = document.createElement('section');
  article.className = 'report';
  article.dataset.side = side;
  article.innerHTML = '<h4></h4><div class="fall"></div><ul class="lines"></ul>';
  article.querySelector('h4').textContent = name;
  article.querySelector('.fall').append(...picture(kind, r));
  const lines = words[kind](side, r);
  if (r.failed) lines.push(['bad', `${requests(r.failed)} got no proper answer.`]);
  for (const [verdict, text] of lines) {
    const li = document.createElement('li');
    li.className = verdict && `is-${verdict}`;
    li.textContent = text;
    article.querySelector('.lines').append(li);
  }
  return article;
}

// One stroke for each request, from reading the session to writing it, and a line
// where the login or logout was.
function picture(kind, { strokes }) {
  const svgNS = 'http://www.w3.org/2000/svg';
  const first = Math.min(0, ...strokes.map((s) => s.from)) - 4;
  const last = Math.max(0, ...strokes.map((s) => s.to)) + 4;
  const x = (t) => (1000 * (t - first)) / (last - first);
  const svg = document.createElementNS(svgNS, 'svg');
  svg.setAttribute('viewBox', `0 0 1000 ${strokes.length || 1}`);
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', `${requests(strokes.length)} over ${ms(last - first)}, and when the ${kind} was`);
  const path = (d, name) => {
    const p = document.createElementNS(svgNS, 'path');
    p.setAttribute('d', d);
    p.setAttribute('class', name);
    p.setAttribute('vector-effect', 'non-scaling-stroke');
    svg.append(p);
  };
  strokes.forEach((s, i) => path(`M${x(s.from)} ${i + 0.5}H${x(s.to)}`, 'stroke'));
  path(`M${x(0)} 0V${strokes.length}`, 'event');
  strokes.forEach((s, i) => path(`M${x(s.to)} ${i + 0.5}h0.01`, `end is-${s.end}`));
  const label = document.createElement('p');
  label.className = 'when';
  label.textContent = kind;
  label.style.setProperty('--at', x(0) / 1000);
  const end = document.createElement('p');
  end.className = 'till';
  end.textContent = `+${Math.round(last - 4)} ms`;
  return [label, svg, end];
}
