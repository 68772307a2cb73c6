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


def url(request):
    return request.uri.split("?", 1)[1]


def fails(what, call, error):
    try:
        call()
    except error:
        return f"{what}: true\n"
    return f"{what}: false\n"


def statements(types):
    """What is executed, and the values of every type that SQLite has."""
    values = [
        types.Value_Integer(-(2**63)),
        types.Value_Real(1.5),
        types.Value_Text("grüße"),
        types.Value_Blob(b"\0\xff"),
        types.Value_Null(),
    ]
    return [
        ("DROP TABLE IF EXISTS t", []),
        ("CREATE TABLE t (i, r, t, b, n)", []),
        ("INSERT INTO t VALUES (?, ?, ?, ?, ?)", values),
        ("SELECT * FROM t WHERE r > ?", [types.Value_Integer(1)]),
    ]


def shown(columns, rows):
    """The result of the last statement."""
    lines = [",".join(columns)]
    lines += ["; ".join(value(one) for one in row.values) for row in rows]
    return "".join(f"{line}\n" for line in lines)


def value(one):
    kind = type(one).__name__.removeprefix("Value_").lower()
    if kind == "null":
        return kind
    return f"{kind} {list(one.value) if kind == 'blob' else one.value}"
