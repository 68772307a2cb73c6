"""What the servers of all versions answer."""

import random
import time

made_at = time.time()
own_generator = random.Random()


def answer(request):
    path = request.uri.split("?")[0]
    plain = {"content-type": "text/plain"}
    if path == "/hello":
        return 200, plain | {"x-made-by": "toolchain"}, b"Hello from a toolchain\n"
    if path == "/echo":
        return 200, {"content-type": "application/octet-stream"}, request.body
    if path == "/headers":
        lines = sorted(f"{n}: {v}\n" for n, v in request.headers.items() if n.startswith("x-"))
        return 200, plain, "".join(lines).encode()
    if path == "/large":
        return 200, plain, b"0123456789abcdef" * 131072
    if path == "/empty":
        return 204, {}, None
    if path == "/hash-seed":
        return 200, plain, f"{hash('skiff')}\n".encode()
    if path == "/own-generator":
        return 200, plain, f"{own_generator.random()}\n".encode()
    if path == "/module-generator":
        return 200, plain, f"{random.random()}\n".encode()
    if path == "/late-import":
        import statistics

        return 200, plain, f"{statistics.mean([1, 2, 3])}\n".encode()
    return 404, plain, b"no such path\n"
