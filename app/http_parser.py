"""The parser of requests, which stays with HTTP/1.1 whatever else a client offers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httptools

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class StayingParser(httptools.HttpRequestParser):
    """Reads a request that offers another protocol as if it did not.

    An offer that is not taken is ignored (RFC 9110, 7.8): the body is a body, and behind it comes the next request. httptools
    would pass over the body, and leave what follows to the other protocol. So `protocol` passes over a request for which
    `should_upgrade()` holds, and hears it again without the offer. CONNECT, which offers nothing else, is an error.
    """

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        super().__init__(protocol)
        self._protocol = protocol
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it

    def feed_data(self, data: bytes | memoryview) -> None:  # type: ignore[override] # it is given nothing else
        """Raises HttpParserError."""
        parser = self
        while data:
            try:
                super(StayingParser, parser).feed_data(data)
                return
            except httptools.HttpParserUpgrade as offer:
                data = memoryview(data)[offer.args[0] :]
                if parser.get_method() == b"CONNECT":
                    raise httptools.HttpParserError("there is no tunnel here") from None
                head = parser._head_without_offer()
                parser = self._protocol.parser = StayingParser(self._protocol)  # the last one reads no more behind `Connection: close`
                super(StayingParser, parser).feed_data(head)

    def _head_without_offer(self) -> bytes:
        lines = [b"%s %s HTTP/%s" % (self.get_method(), self._protocol.url, self.get_http_version().encode())]
        lines += [b"%s: %s" % header for header in self._protocol.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])
