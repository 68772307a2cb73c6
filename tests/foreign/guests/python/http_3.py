"""The server of every toolchain, with spin-sdk 3: see README.md.

`spin_sdk.sqlite` of this release cannot be imported once the bindings are made.
"""

from spin_sdk import http, key_value, variables
from spin_sdk.http import IncomingHandler as Base
from spin_sdk.http import Request, Response
from spin_sdk.wit.types import Err

from shared import answer, fails, url


class IncomingHandler(Base):
    def handle_request(self, request: Request) -> Response:
        path = request.uri.split("?")[0]
        if path == "/key-value":
            return Response(200, {}, use_key_value().encode())
        if path == "/variables":
            return Response(200, {}, use_variables().encode())
        if path == "/fetch":
            return fetch(request)
        return Response(*answer(request))


def use_key_value() -> str:
    with key_value.open_default() as store:
        text = f"before: {str(store.get('a') is not None).lower()}\n"
        store.set("a", "one\0grüße".encode())
        store.set("b", b"")
        text += f"get: {store.get('a').decode()}\n"
        text += f"keys: {','.join(sorted(store.get_keys()))}\n"
        text += f"exists: {str(store.exists('b')).lower()} "
        for key in "abb":
            store.delete(key)
        text += f"{str(store.exists('b')).lower()}\n"
    return text + fails("unlisted", lambda: key_value.open("other"), Err)


def use_variables() -> str:
    text = f"{variables.get('greeting')}\n{variables.get('token')}\n"
    return text + fails("unlisted", lambda: variables.get("who"), Err)


def fetch(request: Request) -> Response:
    try:
        got = http.send(Request("POST", url(request), {"x-own": "toolchain"}, request.body))
    except Err as error:
        return Response(502, {}, f"{error}\n".encode())
    return Response(got.status, {"x-of": got.headers.get("x-of", "")}, got.body)
