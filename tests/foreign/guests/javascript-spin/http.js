// State and requests with Spin's SDK for JavaScript: see README.md.

import { Kv, Sqlite, Variables } from '@fermyon/spin-sdk';

const decode = (bytes) => new TextDecoder().decode(bytes);

function fails(what, call) {
  try {
    call();
  } catch {
    return `${what}: true\n`;
  }
  return `${what}: false\n`;
}

function keyValue() {
  const store = Kv.openDefault();
  let text = `before: ${store.exists('a')}\n`;
  store.set('a', 'one\0grüße');
  store.set('b', '');
  text += `get: ${decode(store.get('a'))}\n`;
  text += `keys: ${store.getKeys().sort().join(',')}\nexists: ${store.exists('b')}`;
  for (const key of ['a', 'b', 'b']) {
    store.delete(key);
  }
  text += ` ${store.exists('b')}\n`;
  return text + fails('unlisted', () => Kv.open('other'));
}

function sqlite() {
  const database = Sqlite.openDefault();
  database.execute('DROP TABLE IF EXISTS t', []);
  database.execute('CREATE TABLE t (i, r, t, b, n)', []);
  database.execute('INSERT INTO t VALUES (?, ?, ?, ?, ?)', [
    -(2n ** 63n),
    1.5,
    'grüße',
    { tag: 'blob', val: new Uint8Array([0, 255]) },
    { tag: 'null' },
  ]);
  const { columns, rows } = database.execute('SELECT * FROM t WHERE r > ?', [1n]);
  const shown = (value) => {
    switch (typeof value) {
      case 'bigint':
        return `integer ${value}`;
      case 'number':
        return `real ${value}`;
      case 'string':
        return `text ${value}`;
      case 'undefined':
        return 'null';
      default:
        return `blob [${[...value].join(', ')}]`;
    }
  };
  let text = `${columns.join(',')}\n`;
  for (const row of rows) {
    text += `${columns.map((name) => shown(row[name])).join('; ')}\n`;
  }
  text += fails('wrong', () => database.execute('SELECT * FROM nothing', []));
  return text + fails('unlisted', () => Sqlite.open('other'));
}

function variables() {
  const unlisted = Variables.get('who') === null;
  return `${Variables.get('greeting')}\n${Variables.get('token')}\nunlisted: ${unlisted}\n`;
}

async function answer(request) {
  const { pathname, search } = new URL(request.url);
  try {
    switch (pathname) {
      case '/key-value':
        return new Response(keyValue());
      case '/sqlite':
        return new Response(sqlite());
      case '/variables':
        return new Response(variables());
      case '/fetch':
        return await pass(search.slice(1), request);
      default:
        return new Response('no such path\n', { status: 404 });
    }
  } catch (error) {
    return new Response(`${error} ${JSON.stringify(error.payload)}\n`, { status: 500 });
  }
}

async function pass(url, request) {
  try {
    const body = await request.arrayBuffer();
    const got = await fetch(url, { method: 'POST', headers: { 'x-own': 'toolchain' }, body });
    const headers = { 'x-of': got.headers.get('x-of') };
    return new Response(await got.arrayBuffer(), { status: got.status, headers });
  } catch (error) {
    return new Response(`${error}\n`, { status: 502 });
  }
}

addEventListener('fetch', (event) => event.respondWith(answer(event.request)));
