import { config } from './net.js';
import { setUpRaces } from './races.js';
import { setUpSession } from './session.js';
import { setUpStorm } from './storm.js';

document.getElementById('ports').textContent = String(config.ports.length);
const onSession = setUpSession();
setUpStorm(onSession);
setUpRaces(onSession);
document.documentElement.dataset.ready = '';
