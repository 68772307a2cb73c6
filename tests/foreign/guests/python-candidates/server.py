"""The server of every toolchain, on the bindings of componentize-py 0.6 and 0.7: see README.md."""

from types import SimpleNamespace

from candidate import exports
from candidate.imports.types import (
    Fields,
    IncomingBody,
    OutgoingBody,
    OutgoingResponse,
    ResponseOutparam,
)
from candidate.types import Err, Ok

from shared import answer


def begin(status, headers):
    """The answer in either candidate: the first one has its status and headers at once."""
    pairs = [(name, value.encode()) for name, value in headers.items()]
    if hasattr(Fields, "from_list"):
        response = OutgoingResponse(Fields.from_list(pairs))
        response.set_status_code(status)
        return response, response.body()
    response = OutgoingResponse(status, Fields(pairs))
    return response, response.write()


def read(request):
    body = request.consume()
    stream = body.stream()
    pieces = []
    while True:
        try:
            pieces.append(stream.blocking_read(65536))
        except Err:
            stream.drop()
            IncomingBody.finish(body).drop()
            return b"".join(pieces)


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request, response_out):
        asked = SimpleNamespace(
            uri=request.path_with_query(),
            headers={name: value.decode() for name, value in request.headers().entries()},
            body=read(request),
        )
        status, headers, text = answer(asked)
        response, body = begin(status, headers)
        ResponseOutparam.set(response_out, Ok(response))
        stream = body.write()
        for start in range(0, len(text or b""), 4096):
            stream.blocking_write_and_flush(text[start : start + 4096])
        stream.drop()
        OutgoingBody.finish(body, None)
