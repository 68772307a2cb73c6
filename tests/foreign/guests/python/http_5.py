"""The server of every toolchain, with spin-sdk 4 and 5: see README.md."""

from componentize_py_types import Err
from spin_sdk import http, key_value, sqlite, variables
from spin_sdk.http import Request, Response
from spin_sdk.wit.imports import spin_sqlite_sqlite_3_1_0 as types

from shared import answer, shown, statements, url


class HttpHandler(http.Handler):
    async def handle_request(self, request: Request) -> Response:
        path = request.uri.split("?")[0]
        if path == "/key-value":
            return Response(200, {}, (await use_key_value()).encode())
        if path == "/sqlite":
            return Response(200, {}, (await use_sqlite()).encode())
        if path == "/variables":
            return Response(200, {}, (await use_variables()).encode())
        if path == "/fetch":
            return await fetch(request)
        return Response(*answer(request))


async def use_key_value() -> str:
    with await key_value.open_default() as store:
        text = f"before: {str(await store.get('a') is not None).lower()}\n"
        await store.set("a", "one\0grüße".encode())
        await store.set("b", b"")
        text += f"get: {(await store.get('a')).decode()}\n"
        keys, done = await store.get_keys()
        text += f"keys: {','.join(sorted(await collected(keys, done)))}\n"
        text += f"exists: {str(await store.exists('b')).lower()} "
        for key in "abb":
            await store.delete(key)
        text += f"{str(await store.exists('b')).lower()}\n"
    return text + await fails("unlisted", key_value.open("other"))


async def use_sqlite() -> str:
    with await sqlite.Connection.open_default() as database:
        for statement, values in statements(types):
            columns, found, done = await database.execute(statement, values)
            found = await collected(found, done)
        text = shown(columns, found)
        text += await fails("wrong", run(database, "SELECT * FROM nothing"))
    return text + await fails("unlisted", sqlite.Connection.open("other"))


async def run(database: sqlite.Connection, statement: str) -> None:
    _, found, done = await database.execute(statement, [])
    await collected(found, done)


async def use_variables() -> str:
    text = f"{await variables.get('greeting')}\n{await variables.get('token')}\n"
    return text + await fails("unlisted", variables.get("who"))


async def fetch(request: Request) -> Response:
    asked = Request("POST", url(request), {"x-own": "toolchain"}, request.body)
    try:
        got = await http.send(asked)
    except Err as error:
        return Response(502, {}, f"{error}\n".encode())
    return Response(got.status, {"x-of": got.headers.get("x-of", "")}, got.body)


async def collected(stream, done) -> list:
    all = []
    with stream:
        while not stream.writer_dropped:
            all += await stream.read(100)
    with done:
        result = await done.read()
    if isinstance(result, Err):
        raise result
    return all


async def fails(what: str, call) -> str:
    try:
        await call
    except Err:
        return f"{what}: true\n"
    return f"{what}: false\n"
