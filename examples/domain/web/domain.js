// The page of the domain: what each app sees, and the storm.

const byId = (id) => document.getElementById(id);
const number = (n) => n.toLocaleString('en');
const about = async () => (await fetch('/-/about')).json();

const { apps, ports } = await about();

// call asks an app by way of a port, or of the page's own.
async function call(app, path, port) {
  const origin = port ? `http://${location.hostname}:${port}` : '';
  const response = await fetch(`${origin}/${app.name}/${path}`, { credentials: 'include' });
  const text = await response.text();
  if (!response.ok) throw new Error(`${app.title} answered ${response.status}${text && ': ' + text.slice(0, 200)}`);
  return text;
}

// One row for each app.

const words = ['No', 'One', 'Two', 'Three', 'Four', 'Five', 'Six', 'Seven', 'Eight', 'Nine', 'Ten', 'Eleven'];
byId('count').textContent = `${words[apps.length] ?? apps.length} ${apps.length === 1 ? 'framework' : 'frameworks'}.`;

function element(name, text, properties = {}) {
  const e = Object.assign(document.createElement(name), properties);
  e.textContent = text;
  return e;
}

const rows = apps.map((app) => {
  const row = byId('apps').tBodies[0].insertRow();
  row.dataset.app = app.name;
  const name = element('th', app.title, { scope: 'row' });
  name.append(element('small', app.language));
  const user = element('td', '', { className: 'user' });
  const visits = element('td', '', { className: 'number' });
  const actions = element('td', '', { className: 'actions' });
  const action = (text, what, path) => {
    const button = element('button', text, { type: 'button' });
    button.dataset.do = what;
    button.setAttribute('aria-label', `${text} in ${app.title}`);
    button.addEventListener('click', () => { acting = act(() => call(app, path)); });
    actions.append(button, ' ');
  };
  action('Visit', 'visit', 'inc?k=visits');
  action('Log in', 'login', 'login?user=ann');
  action('Log out', 'logout', 'logout');
  row.append(name, user, visits, actions);
  return { app, user, visits };
});

let acting = Promise.resolve(); // the last click's work

async function act(what) {
  byId('notice').textContent = '';
  try {
    await what();
  } catch (err) {
    byId('notice').textContent = err.message;
  }
  await refresh();
}

async function refresh() {
  await Promise.all(rows.map(async ({ app, user, visits }) => {
    try {
      const [who, count] = await Promise.all([call(app, 'me'), call(app, 'get?k=visits')]);
      user.textContent = who || 'nobody';
      visits.textContent = number(Number(count));
    } catch (err) {
      byId('notice').textContent = err.message;
    }
  }));
}

// The storm.

const fields = Array.from({ length: 8 }, (_, i) => `storm${i}`);
const sum = (record) => fields.reduce((total, field) => total + (record[field] ?? 0), 0);
const dump = async (app) => JSON.parse(await call(app, 'dump'));

const bars = apps.map((app) => {
  const bar = element('div', '', { className: 'bar' });
  const progress = element('progress', '', { max: 1, value: 0 });
  const count = element('output', '0');
  bar.dataset.app = app.name;
  bar.append(element('span', app.title), progress, count);
  byId('bars').append(bar);
  return { progress, count };
});

async function storm(total, once) {
  await call(apps[0], 'inc?k=visits'); // a session is there before the storm
  const before = sum(await dump(apps[0]));
  await fetch('/-/reset', { method: 'POST' });
  const acknowledged = apps.map(() => 0);
  const failures = [];
  let next = 0;
  const draw = () => bars.forEach(({ progress, count }, i) => {
    progress.max = Math.ceil(total / apps.length);
    progress.value = acknowledged[i];
    count.textContent = number(acknowledged[i]);
  });
  const drawing = setInterval(draw, 50);
  const worker = async () => {
    while (next < total) {
      const i = next++;
      const at = i % apps.length;
      try {
        await call(apps[at], `inc?k=${fields[i % fields.length]}`, ports[i % ports.length]);
        acknowledged[at]++;
      } catch (err) {
        failures.push(err.message);
      }
    }
  };
  await Promise.all(Array.from({ length: once }, worker));
  clearInterval(drawing);
  draw();
  await acting; // a login has the token superseded with which this would read
  const { peak, cookies } = await about();
  const kept = await Promise.all(apps.map(async (app) => sum(await dump(app)) - before));
  return { acknowledged: acknowledged.reduce((a, b) => a + b, 0), kept, failures, peak, cookies };
}

function verdict({ acknowledged, kept, failures }) {
  const failed = failures.length ? ` ${number(failures.length)} requests failed, the first because ${failures[0]}.` : '';
  if (kept.some((n) => n !== kept[0])) return `The apps do not agree on what was kept: ${kept.join(', ')}.${failed}`;
  if (kept[0] === acknowledged) return `All ${number(acknowledged)} additions were kept, and every app sees the same.${failed}`;
  return `${number(acknowledged - kept[0])} acknowledged additions were lost.${failed}`;
}

byId('storm').addEventListener('submit', async (event) => {
  event.preventDefault();
  byId('run').disabled = true;
  byId('verdict').textContent = '';
  try {
    const result = await storm(byId('total').valueAsNumber, byId('once').valueAsNumber);
    const lost = result.acknowledged - Math.min(...result.kept);
    byId('acknowledged').textContent = number(result.acknowledged);
    byId('kept').textContent = number(Math.min(...result.kept));
    byId('lost').textContent = number(lost);
    byId('lost').classList.toggle('is-bad', lost !== 0);
    byId('peak').textContent = number(result.peak);
    byId('cookies').textContent = number(result.cookies);
    byId('verdict').textContent = verdict(result);
  } catch (err) {
    byId('verdict').textContent = `The storm ended early: ${err.message}.`;
  }
  byId('run').disabled = false;
  await refresh();
});

await refresh();

document.documentElement.dataset.ready = '';
