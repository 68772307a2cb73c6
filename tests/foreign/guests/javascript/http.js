// The server of every toolchain, as the platform's own events: see README.md.

const madeAt = Date.now();

async function answer(request) {
  const { pathname, search } = new URL(request.url);
  switch (pathname) {
    case '/hello':
      return new Response('Hello from a toolchain\n', {
        headers: { 'content-type': 'text/plain', 'x-made-by': 'toolchain' },
      });
    case '/echo':
      return new Response(request.body, { headers: { 'content-type': 'application/octet-stream' } });
    case '/headers': {
      const names = [...request.headers].filter(([name]) => name.startsWith('x-'));
      return new Response(names.map(([name, value]) => `${name}: ${value}\n`).sort().join(''));
    }
    case '/large':
      return new Response('0123456789abcdef'.repeat(131072));
    case '/empty':
      return new Response(null, { status: 204 });
    case '/fetch':
      return pass(search.slice(1), request);
    case '/made-at':
      return new Response(`${madeAt}\n`);
    case '/normalize':
      return new Response(`${'e\u0301'.normalize('NFC').length}\n`);
    case '/broken-stream': {
      let sent = false;
      const body = new ReadableStream({
        pull(controller) {
          if (sent) {
            controller.error(new Error('the source is gone'));
          } else {
            sent = true;
            controller.enqueue(new TextEncoder().encode('the first half\n'));
          }
        },
      });
      return new Response(body);
    }
    default:
      return new Response('no such path\n', { status: 404 });
  }
}

async function pass(url, request) {
  try {
    const body = await request.arrayBuffer();
    const got = await fetch(url, { method: 'POST', headers: { 'x-own': 'toolchain' }, body });
    return new Response(got.body, { status: got.status, headers: { 'x-of': got.headers.get('x-of') } });
  } catch (error) {
    return new Response(`${error}\n`, { status: 502 });
  }
}

addEventListener('fetch', (event) => event.respondWith(answer(event.request)));
