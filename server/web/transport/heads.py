"""The size of a request's head while it comes in: request line, headers, and what the parser keeps to itself."""

from server.protocol.errors import WireError
from server.web.transport.limits import ConnectionLimits


class HeadMeter:
    """Counts one request at a time. What is too large raises WireError, before it is all here.

    The parser hands over a header when it has all of it, so bytes that led to no call are counted too: they may be
    half of a header, spaces before an address, empty lines before a request, or the extension of a chunk.
    """

    __slots__ = ("_headers", "_heard", "_hosts", "_limits", "_silent", "_size", "_url", "is_complete")

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self.is_complete = False  # the headers have ended; what follows is body and trailers
        self._url = self._size = self._headers = self._hosts = 0
        self._silent = 0  # bytes since the parser last handed something over
        self._heard = False  # it did so in what it is being given now

    def begin(self) -> None:
        """The next request begins."""
        self.heard()
        self.is_complete = False
        self._url = self._size = self._headers = self._hosts = 0

    def add_url(self, size: int) -> None:
        """A part of the address. Raises WireError 414."""
        self.heard()
        self._url += size
        if self._url > self._limits.url_bytes:
            raise WireError(414, "uri_too_long", f"The address is longer than {self._limits.url_bytes} bytes.")

    def add_header(self, name: bytes, size: int) -> None:
        """A header or trailer with its name in lower case and the bytes of both parts. Raises WireError 400, 431."""
        self.heard()
        self._size += size
        self._headers += 1
        if self._size > self._limits.head_bytes or self._headers > self._limits.headers:
            raise self._too_large()
        if name == b"host":
            self._hosts += 1
            if self._hosts > 1:  # RFC 9112, 3.2
                raise WireError(400, "invalid_request_error", "There is more than one Host header.")

    def heard(self) -> None:
        """The parser handed something over."""
        self._heard = True

    def fed(self, size: int) -> None:
        """So many bytes were given to the parser. Raises WireError 431."""
        self._silent = 0 if self._heard else self._silent + size
        self._heard = False
        if self._size + self._silent > self._limits.head_bytes:
            raise self._too_large()

    def _too_large(self) -> WireError:
        limits = self._limits
        message = f"The headers are larger than {limits.head_bytes} bytes, or more than {limits.headers}."
        return WireError(431, "request_header_fields_too_large", message)
