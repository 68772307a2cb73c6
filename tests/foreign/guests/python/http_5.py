"""The server of every toolchain, with spin-sdk 4 and 5: see README.md."""

from spin_sdk import http
from spin_sdk.http import Request, Response

from shared import answer


class HttpHandler(http.Handler):
    async def handle_request(self, request: Request) -> Response:
        return Response(*answer(request))
