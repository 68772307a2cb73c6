// One line of text for every request.
addEventListener('fetch', (event) => event.respondWith(new Response('Hello from JavaScript\n')));
