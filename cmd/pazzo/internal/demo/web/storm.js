// The storm: many requests, two carts, and what became of each item.

import { app, config, must, mustKeepCookies, portsFor, send } from './net.js';

const number = new Intl.NumberFormat('en').format;
const plural = (n, one) => `${number(n)} ${one}${n === 1 ? '' : 's'}`;

// One of the two sessions: what it acknowledged, and what it kept.
class Side {
  constructor(root, total) {
    this.find = (name) => root.querySelector(`[data-${name}]`);
    this.root = root;
    this.box = root.querySelector('.cells');
    this.bars = config.items.map((item) => {
      const bar = document.createElement('li');
      bar.innerHTML = '<span class="item"></span><span class="track"><i></i><b></b></span><span class="count"></span>';
      bar.querySelector('.item').textContent = item;
      root.querySelector('.bars').append(bar);
      return bar;
    });
    this.reset(total);
  }

  reset(total) {
    this.total = total;
    this.acknowledged = 0;
    this.kept = 0;
    this.items = new Map(config.items.map((item) => [item, { acknowledged: 0, kept: 0, holders: new Map() }]));
    this.box.dataset.size = total <= 120 ? 'large' : total <= 500 ? 'medium' : total <= 1000 ? 'small' : 'tiny';
    this.cells = Array.from({ length: total }, () => {
      const cell = document.createElement('i');
      cell.className = 'cell';
      return cell;
    });
    this.box.replaceChildren(...this.cells);
    this.paint();
  }

  // A request was told how many of its item there are now. Two that were told the
  // same number did not see each other: one of them is lost, and it shows at once.
  acknowledge(i, item, value) {
    const counter = this.items.get(item);
    this.acknowledged++;
    counter.acknowledged++;
    if (counter.holders.has(value)) {
      this.mark(i, 'lost');
      return;
    }
    counter.holders.set(value, i);
    counter.kept++;
    this.kept++;
    this.mark(i, 'kept');
  }

  // At the end the session says what it holds. Whatever lies beyond is lost too.
  settle(cart) {
    this.kept = 0;
    for (const [item, counter] of this.items) {
      counter.kept = cart[item] ?? 0;
      this.kept += counter.kept;
      for (const [value, i] of counter.holders) {
        if (value > counter.kept) this.mark(i, 'lost');
      }
    }
    this.paint();
  }

  get lost() {
    return Math.max(0, this.acknowledged - this.kept);
  }

  mark(i, state) {
    this.cells[i].className = `cell is-${state}`;
  }

  paint() {
    this.find('kept').textContent = number(this.kept);
    this.find('acknowledged').textContent = number(this.acknowledged);
    this.find('lost').textContent = number(this.lost);
    this.root.classList.toggle('has-lost', this.lost > 0);
    const full = Math.max(1, Math.ceil(this.total / config.items.length));
    config.items.forEach((item, k) => {
      const { kept, acknowledged } = this.items.get(item);
      const bar = this.bars[k];
      bar.style.setProperty('--acknowledged-share', Math.min(1, acknowledged / full));
      bar.style.setProperty('--kept-share', Math.min(1, kept / full));
      bar.querySelector('.count').textContent = `${kept}/${acknowledged}`;
      bar.setAttribute('aria-label', `${item}: ${kept} kept of ${acknowledged} acknowledged`);
    });
  }
}

export function setUpStorm(onSession) {
  const form = document.getElementById('storm');
  const [total, once, button, verdict] = ['total', 'once', 'run', 'verdict'].map((id) => document.getElementById(id));
  const [flight, peak] = ['flight', 'peak'].map((id) => document.getElementById(id));
  const sides = ['pazzo', 'classic'].map((id) => new Side(document.getElementById(id), total.valueAsNumber));
  total.max = config.maxTotal;
  once.max = config.maxAtOnce;

  let running = false;
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (running) return;
    running = true;
    button.setAttribute('aria-disabled', 'true');
    verdict.textContent = '';
    verdict.classList.remove('is-trouble');
    try {
      verdict.textContent = await storm(total.valueAsNumber, Math.min(once.valueAsNumber, total.valueAsNumber));
    } catch (error) {
      verdict.textContent = error.message;
      verdict.classList.add('is-trouble');
    }
    button.removeAttribute('aria-disabled');
    running = false;
  });

  async function storm(requests, atOnce) {
    sides.forEach((side) => side.reset(requests));
    flight.textContent = peak.textContent = '0';
    const { run } = await must('POST', '/mux/storm', { atOnce });
    await mustKeepCookies();
    onSession();

    let next = 0;
    let unanswered = 0;
    let latest;
    let painting = 0;
    const paint = () => {
      painting = 0;
      sides.forEach((side) => side.paint());
      if (latest) flight.textContent = number(latest.now);
      if (latest) peak.textContent = number(latest.peak);
    };
    const ports = portsFor(atOnce);
    const worker = async (_, w) => {
      while (next < requests) {
        const i = next++;
        const item = config.items[i % config.items.length];
        const answer = await send('POST', `${app(i)}/storm/${item}`, { port: w % ports, run, i });
        if (answer.ok) {
          latest = answer.body;
          sides[0].acknowledge(i, item, latest.pazzo);
          sides[1].acknowledge(i, item, latest.classic);
        } else {
          unanswered++;
        }
        painting ||= requestAnimationFrame(paint);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, worker));

    const result = await must('GET', `/mux/storm/${run}`);
    if (painting) cancelAnimationFrame(painting);
    sides[0].settle(result.pazzo);
    sides[1].settle(result.classic);
    flight.textContent = '0';
    peak.textContent = number(result.peak);
    return sentence(sides[0], sides[1], unanswered);
  }
}

function sentence(pazzo, classic, unanswered) {
  const said = [];
  said.push(pazzo.lost === 0
    ? `Pazzo kept all ${plural(pazzo.acknowledged, 'item')}.`
    : `Pazzo lost ${number(pazzo.lost)} of ${plural(pazzo.acknowledged, 'item')}.`);
  said.push(classic.lost === 0
    ? `The classic session kept all ${number(classic.acknowledged)} this time: have more requests in flight.`
    : `The classic session said “done” ${number(classic.acknowledged)} times and lost ${number(classic.lost)}.`);
  if (unanswered) said.push(`${plural(unanswered, 'request')} got no answer.`);
  return said.join(' ');
}
