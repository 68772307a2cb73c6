"""The server of every toolchain, with spin-sdk 3: see README.md."""

from spin_sdk.http import IncomingHandler as Base
from spin_sdk.http import Request, Response

from shared import answer


class IncomingHandler(Base):
    def handle_request(self, request: Request) -> Response:
        return Response(*answer(request))
