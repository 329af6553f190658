// Requests to the apps, over as many of the demo's ports as are needed.

export const config = await (await fetch('/config')).json();

const origins = config.ports.map((port) => `${location.protocol}//${location.hostname}:${port}`);

// How many of the ports a number of requests at once needs.
export const portsFor = (atOnce) => Math.min(origins.length, Math.ceil(atOnce / config.perOrigin));

// Sends a request and reads its answer. Without a port it goes to the page's own.
// A request that gets no answer has status 0.
export async function send(method, path, { port, ...params } = {}) {
  const query = new URLSearchParams(params).toString();
  const origin = port === undefined ? '' : origins[port];
  try {
    const response = await fetch(`${origin}${path}${query && '?'}${query}`, {
      method,
      credentials: 'include',
      cache: 'no-store',
    });
    const text = await response.text();
    const isJSON = response.headers.get('Content-Type') === 'application/json';
    return { ok: response.ok, status: response.status, body: isJSON ? JSON.parse(text) : { error: text.trim() } };
  } catch (error) {
    return { ok: false, status: 0, body: { error: error.message } };
  }
}

// Sends one that must succeed.
export async function must(method, path, params) {
  const answer = await send(method, path, params);
  if (answer.ok) return answer.body;
  if (answer.status === 0) throw new Error('The demo does not answer. Is it still running?');
  if (answer.status === 409) throw new Error('This session has ended elsewhere. Reload the page for a new one.');
  throw new Error(`The demo answered with ${answer.status}: ${answer.body.error}`);
}

// Stops with a reason if the browser does not keep the session's cookie.
export async function mustKeepCookies() {
  const { live } = await must('GET', '/mux/pazzo/state');
  if (!live) throw new Error('This browser does not keep Secure cookies from this address. Open the page in Chrome, Edge or Firefox.');
}

// The apps take turns in the storm; the races are between the first two.
export const app = (i) => config.apps[i % config.apps.length].path;
export const racer = (i) => config.apps[i % 2].path;
