import { config } from './net.js';
import { setUpRaces } from './races.js';
import { setUpSession } from './session.js';
import { setUpStorm } from './storm.js';

document.getElementById('ports').textContent = String(config.ports.length);
describeApps();
const onSession = setUpSession();
setUpStorm(onSession);
setUpRaces(onSession);
document.documentElement.dataset.ready = '';

// Names the apps that take part.
function describeApps() {
  const numbers = ['no', 'one', 'two', 'three', 'four', 'five', 'six'];
  document.getElementById('apps-number').textContent = `${numbers[config.apps.length]} web apps`;
  document.getElementById('apps').replaceChildren(...config.apps.flatMap(({ title }, i) => {
    const name = document.createElement('code');
    name.textContent = title;
    return [i ? ', one on ' : 'one on ', name];
  }));
}
