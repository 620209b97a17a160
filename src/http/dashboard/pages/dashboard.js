// Keeps the page up to date: told by the stream that something changed, it fetches the part that
// changes, and puts in what differs. What somebody points at or is working in stays as it is.
(() => {
  'use strict';

  const EVERY = 5000; // Without the stream, and for what other instances did: at least this often.
  const READS = 20000; // Who has not moved the mouse for so long does not read there.
  const REOPEN = 15000; // When the stream was refused.

  const live = document.getElementById('live');
  const connection = document.getElementById('connection');
  const notice = document.getElementById('notice');

  let stream = null;
  let fetching = false;
  let again = false;
  let forced = false; // The next one puts in everything.
  let moved = 0; // When a mouse did last. A finger does not stay where it was.
  let waiting = false; // A part was left as it is, and is out of date.
  let state = '';

  function say(next) {
    if (next === state) return;
    state = next;
    connection.dataset.state = next;
    connection.textContent = {
      begin: 'connecting…',
      live: 'live',
      wait: 'reconnecting…',
      still: 'paused while you read',
      none: 'not live',
    }[next];
  }

  function tell() {
    const open = stream !== null && stream.readyState === EventSource.OPEN;
    say(open ? (waiting ? 'still' : 'live') : 'wait');
  }

  function isInUse(part) {
    if (!('steady' in part.dataset)) return false;
    if (part.querySelector('details[open]')) return true;
    const focus = document.activeElement;
    if (focus && part.contains(focus) && focus.matches(':focus-visible')) return true;
    return Date.now() - moved < READS && part.matches(':hover');
  }

  function put(html, all) {
    const fresh = new DOMParser().parseFromString(html, 'text/html');
    waiting = false;
    for (const part of fresh.querySelectorAll('[data-part]')) {
      const shown = document.getElementById(part.id);
      if (!shown || shown.outerHTML === part.outerHTML) continue;
      if (!all && isInUse(shown)) {
        waiting = true;
        continue;
      }
      const focus = document.activeElement;
      const id = focus && shown.contains(focus) ? focus.id : '';
      const left = shown.querySelector('.sheet')?.scrollLeft;
      shown.replaceWith(document.adoptNode(part));
      if (left) part.querySelector('.sheet')?.scrollTo({ left });
      if (id) {
        const heir = document.getElementById(id);
        (heir || document.getElementById('main')).focus({ preventScroll: true });
      }
    }
    tell();
  }

  async function refresh(force = false) {
    forced ||= force;
    if (fetching) {
      again = true;
      return;
    }
    fetching = true;
    const all = forced;
    forced = false;
    try {
      const answer = await fetch('/notifications/fragment', { cache: 'no-store' });
      if (answer.status === 401) return location.assign('/login');
      if (answer.ok) put(await answer.text(), all);
    } catch {
      tell(); // The next round tries again.
    } finally {
      fetching = false;
    }
    if (again) {
      again = false;
      setTimeout(refresh, forced ? 0 : 250);
    }
  }

  function watch() {
    stream = new EventSource('/notifications/stream');
    stream.onopen = () => {
      tell();
      refresh();
    };
    stream.onerror = () => {
      tell();
      if (stream.readyState === EventSource.CLOSED) {
        setTimeout(watch, REOPEN);
        refresh();
      }
    };
    stream.addEventListener('changed', () => {
      if (!document.hidden) refresh();
    });
    stream.addEventListener('ended', () => {
      stream.close();
      location.assign('/login');
    });
  }

  // A form that stays on the page. Without this script it loads the page anew.
  live.addEventListener('submit', async (event) => {
    const form = event.target;
    if (!('inline' in form.dataset)) return;
    event.preventDefault();
    const button = form.querySelector('button');
    button.disabled = true;
    try {
      const answer = await fetch(form.action, {
        method: 'POST',
        body: new URLSearchParams(new FormData(form)),
      });
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
      const told = page.getElementById('notice') || page.querySelector('h1');
      notice.className = answer.ok ? 'notice good' : 'notice bad';
      notice.textContent = told ? told.textContent : 'That did not work. Load the page again.';
      notice.hidden = false;
      const menu = form.closest('details');
      if (menu) menu.open = false;
      await refresh(true);
    } catch {
      notice.className = 'notice bad';
      notice.textContent = 'Herald does not answer. Try again in a moment.';
      notice.hidden = false;
    } finally {
      button.disabled = false;
    }
  });

  document.addEventListener('pointermove', (event) => {
    moved = event.pointerType === 'mouse' ? Date.now() : 0;
  });
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) refresh();
  });
  for (const event of ['pointerout', 'focusout', 'toggle']) {
    live.addEventListener(event, () => {
      if (waiting) setTimeout(refresh, 100);
    }, true);
  }
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') {
      for (const menu of live.querySelectorAll('details[open]')) menu.open = false;
    }
  });
  setInterval(() => {
    if (!document.hidden) refresh();
  }, EVERY);

  // An address with a notice is not to be kept: it would be told again.
  if (location.search) history.replaceState(null, '', location.pathname);
  say('begin');
  watch();
})();
