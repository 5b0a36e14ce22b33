'use strict';
// Follows one operation. An EventSource cannot send an Authorization header, so this reads the stream by fetch; the
// key is kept in sessionStorage and never put into an address.
const id = decodeURIComponent(location.pathname.split('/').pop());
const MARKS = { pending: '·', running: '›', completed: '✓', failed: '✕', skipped: '–' };
const FINAL = ['completed', 'failed', 'cancelled'];
const MESSAGES_MAX = 500;
// Heartbeats come every 15 s: a line silent for so long is dead, though nobody said so.
const SILENCE_MS = 45000;
const $ = (name) => document.getElementById(name);
let cursor = null, waitMs = 1000, steps = new Map(), over = false, state = null;

const percent = (value) => `${Number(value.toFixed(1))} %`;
const time = (text) => new Date(text).toLocaleTimeString([], { hour12: false });

function notice(text) {
  $('notice').hidden = !text;
  $('notice').textContent = text || '';
}

function badge(text, tint) {
  $('state').textContent = text;
  $('state').dataset.state = tint || '';
}

function setBar(bar, value) {
  bar.firstElementChild.style.width = `${value}%`;
  bar.setAttribute('aria-valuenow', value);
}

function showWhole(event) {
  state = event.state;
  over = FINAL.includes(state);
  badge(state, state);
  $('whole').dataset.state = state;
  setBar($('whole'), event.percent);
  $('percent').textContent = percent(event.percent);
  document.title = `${over ? state : percent(event.percent)} · ${$('title').textContent}`;
}

function showStep(step) {
  let row = steps.get(step.name);
  if (!row) {
    row = document.createElement('li');
    row.innerHTML = '<span class="mark" aria-hidden="true"></span><span class="name"></span>' +
      '<div class="bar" role="progressbar" aria-valuemin="0" aria-valuemax="100"><i></i></div><span class="much"></span>';
    row.querySelector('.name').textContent = step.name;
    row.querySelector('.bar').setAttribute('aria-label', step.name);
    steps.set(step.name, row);
    $('steps').append(row);
    $('steps-title').hidden = false;
  }
  row.dataset.state = step.state;
  row.querySelector('.mark').textContent = MARKS[step.state];
  setBar(row.querySelector('.bar'), step.percent);
  const counted = step.current !== undefined && step.total !== undefined;
  const count = counted && (step.state === 'running' || step.current === step.total)
    ? `${step.current.toLocaleString('en')} / ${step.total.toLocaleString('en')}` : percent(step.percent);
  row.querySelector('.much').textContent = step.state === 'running' || step.state === 'completed' ? count : step.state;
}

function say(at, text, step) {
  $('silence')?.remove();
  const row = document.createElement('li');
  const when = document.createElement('time');
  when.dateTime = at;
  when.textContent = time(at);
  const words = document.createElement('span');
  words.textContent = text;
  if (step) {
    const where = document.createElement('em');
    where.textContent = `${step} · `;
    words.prepend(where);
  }
  row.append(when, words);
  const list = $('messages'), atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.append(row);
  if (list.children.length > MESSAGES_MAX) list.firstElementChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function showSnapshot(snapshot) {
  $('title').textContent = snapshot.title || 'Operation';
  $('project').textContent = snapshot.project ? ` · project ${snapshot.project}` : '';
  $('times').textContent = `Begun ${new Date(snapshot.created_at).toLocaleString()}`;
  $('steps').replaceChildren();
  steps = new Map();
  snapshot.steps.forEach(showStep);
  // The final event comes with its message right behind the snapshot.
  if (snapshot.message && !FINAL.includes(snapshot.state)) say(snapshot.updated_at, snapshot.message);
  showWhole(snapshot);
}

const RESETS = {
  gone: 'This operation is no more: it was deleted, or its time is over.',
  foreign: 'The operation was begun anew.', too_old: 'Some events were too old to be sent again; this is the state now.',
};

function handle(event, data) {
  if (event === 'heartbeat') return;
  if (event === 'reset' && data.reason === 'gone') {
    over = true;
    badge('gone');
    return notice(RESETS.gone);
  }
  if (event === 'reset') notice(RESETS[data.reason] || 'Shown anew from its present state.');
  if (event === 'snapshot' || event === 'reset') return showSnapshot(data);
  if (data.step) showStep(data.step);
  if (data.message) say(data.at, data.message, data.step?.name);
  showWhole(data);
}

// The event stream format of the WHATWG: lines of `field: value`, a blank one ends an event.
function parser() {
  let rest = '', event = 'message', data = [];
  return (text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      const [field, value] = line.includes(': ') ? [line.slice(0, line.indexOf(': ')), line.slice(line.indexOf(': ') + 2)]
        : [line, ''];
      if (field === 'event') event = value;
      else if (field === 'data') data.push(value);
      else if (field === 'id') cursor = value;
      else if (field === 'retry') waitMs = Number(value) || waitMs;
      else if (line === '' && data.length) { handle(event, JSON.parse(data.join('\n'))); event = 'message'; data = []; }
    }
  };
}

async function follow(abort) {
  const headers = { Accept: 'text/event-stream' };
  const key = sessionStorage.getItem('sluice-key');
  if (key) headers.Authorization = `Bearer ${key}`;
  if (cursor) headers['Last-Event-ID'] = cursor;
  let watchdog = setTimeout(() => abort.abort(), SILENCE_MS);
  try {
    const answer = await fetch(`/v1/operations/${encodeURIComponent(id)}/events`, { headers, signal: abort.signal, cache: 'no-store' });
    if (answer.status === 204) { over = true; return true; }
    if (answer.status === 401) {
      sessionStorage.removeItem('sluice-key');
      ask(key ? 'This key is not valid.' : '');
      return false;
    }
    if (answer.status >= 400 && answer.status < 500 && answer.status !== 429) {
      const problem = await answer.json().catch(() => ({}));
      if (answer.status === 403) ask(problem.detail);
      else { badge(answer.status === 404 ? 'not found' : 'refused'); notice(problem.detail); }
      return false;
    }
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    $('ask').hidden = true;
    $('live').hidden = false;
    notice('');
    if (state) badge(state, state);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader(), parse = parser();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return true;
      clearTimeout(watchdog);
      watchdog = setTimeout(() => abort.abort(), SILENCE_MS);
      parse(value);
    }
  } finally {
    clearTimeout(watchdog);
  }
}

async function run() {
  for (let failures = 0; !over;) {
    let open = false;
    try {
      open = await follow(new AbortController());
      if (!open) return;
      failures = 0;
    } catch {
      failures += 1;
    }
    if (over) break;
    badge('reconnecting');
    notice('The connection was lost. What happens meanwhile is not: it is shown as soon as the line is back.');
    // Spread, so that the readers of a node that went away do not come back as one.
    const wait = waitMs * Math.min(2 ** failures, 16) * (0.5 + Math.random());
    await new Promise((wake) => setTimeout(wake, Math.min(wait, 30000)));
  }
}

function ask(why) {
  $('live').hidden = true;
  $('ask').hidden = false;
  badge('key needed');
  notice(why);
  $('key').focus();
}

$('id').textContent = id;
$('ask').addEventListener('submit', (submitted) => {
  submitted.preventDefault();
  sessionStorage.setItem('sluice-key', $('key').value.trim());
  $('key').value = '';
  notice('');
  run();
});
run();
