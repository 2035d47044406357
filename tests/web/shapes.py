"""Requests that two readers could read in two ways, or nobody should read at all (RFC 9112; the smuggling literature).

Each is whole: a lenient parser would take it for a request and what follows it for the next one.
"""

from __future__ import annotations

H = b"Host: a\r\n"
GET = b"GET /livez HTTP/1.1\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
EMPTY = b"0\r\n\r\n"
OLD = b"GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n"


def length(value: bytes, body: bytes = b"abcd") -> bytes:
    return POST + b"Content-Length: " + value + b"\r\n\r\n" + body


def coding(value: bytes) -> bytes:
    return POST + b"Transfer-Encoding: " + value + b"\r\n\r\n" + EMPTY


def field(line: bytes) -> bytes:
    """A GET with one more header line, written as given."""
    return GET + H + line + b"\r\n\r\n"


def line(text: bytes) -> bytes:
    """A request line, and a good head below it."""
    return text + b"\r\n" + H + b"\r\n"


# B-01: how long the body is
LENGTHS = {
    "with coding": POST + b"Content-Length: 4\r\n" + CHUNKED + b"\r\n" + EMPTY,
    "after coding": POST + CHUNKED + b"Content-Length: 4\r\n\r\n" + EMPTY,
    "zero with coding": POST + b"Content-Length: 0\r\n" + CHUNKED + b"\r\n" + EMPTY,
    "with coding it is not": POST + b"Content-Length: 4\r\nTransfer-Encoding: identity\r\n\r\nabcd",
    "two": POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "two equal": POST + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
    "two, one in capitals": POST + b"CONTENT-LENGTH: 4\r\ncontent-length: 5\r\n\r\nabcde",
    "list": length(b"4, 5"),
    "equal list": length(b"4, 4"),
    "list without blanks": length(b"4,4"),
    "plus": length(b"+4"),
    "minus": length(b"-4"),
    "minus zero": length(b"-0", b""),
    "hex": length(b"0x4"),
    "underscore": length(b"4_0", b"a" * 40),
    "point": length(b"4.0"),
    "exponent": length(b"4e0"),
    "two words": length(b"4 4"),
    "semicolon": length(b"4;"),
    "quoted": length(b'"4"'),
    "letters": length(b"four"),
    "empty": length(b"", b""),
    "other digits": length("٤".encode()),
    "superscript": length("²".encode("latin-1"), b"ab"),
    "twenty digits": length(b"9" * 20),
    "2 to the 64th": length(str(2**64).encode()),
    "2 to the 64th and 4": length(str(2**64 + 4).encode()),
    "NUL in it": length(b"4\x00"),
    "vertical tab in it": length(b"4\x0b"),
    "carriage return in it": length(b"4\r"),
    "blank before colon": POST + b"Content-Length : 4\r\n\r\nabcd",
    "tab before colon": POST + b"Content-Length\t: 4\r\n\r\nabcd",
}

# B-01, B-02: how the body is framed
CODINGS = {
    "unknown": coding(b"xchunked"),
    "chunkedx": coding(b"chunkedx"),
    "chunked not last": coding(b"chunked, identity"),
    "gzip first": coding(b"gzip, chunked"),
    "identity first": coding(b"identity, chunked"),
    "gzip only": coding(b"gzip"),
    "identity": coding(b"identity"),
    "twice in a list": coding(b"chunked, chunked"),
    "twice": POST + CHUNKED + CHUNKED + b"\r\n" + EMPTY,
    "two lines": POST + b"Transfer-Encoding: gzip\r\n" + CHUNKED + b"\r\n" + EMPTY,
    "two lines, chunked first": POST + CHUNKED + b"Transfer-Encoding: gzip\r\n\r\n" + EMPTY,
    "two lines, one in capitals": POST + CHUNKED + b"TRANSFER-ENCODING: identity\r\n\r\n" + EMPTY,
    "empty": coding(b""),
    "comma": coding(b"chunked,"),
    "comma first": coding(b",chunked"),
    "parameter": coding(b"chunked;q=1"),
    "quoted": coding(b'"chunked"'),
    "vertical tab before": coding(b"\x0bchunked"),
    "vertical tab after": coding(b"chunked\x0b"),
    "form feed": coding(b"\x0cchunked"),
    "NUL after": coding(b"chunked\x00"),
    "no-break blank": coding(b"chunked\xa0"),
    "carriage return before": coding(b"\rchunked"),
    "blank before colon": POST + b"Transfer-Encoding : chunked\r\n\r\n" + EMPTY,
    "tab before colon": POST + b"Transfer-Encoding\t: chunked\r\n\r\n" + EMPTY,
    "blank before name": POST + b" Transfer-Encoding: chunked\r\n\r\n" + EMPTY,
    "folded": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + EMPTY,
    "folded into another field": POST + b"X: y\r\n Transfer-Encoding: chunked\r\n\r\n" + EMPTY,
    "in HTTP/1.0": b"POST / HTTP/1.0\r\n" + H + CHUNKED + b"\r\n" + EMPTY,
    "in HTTP/1.0, kept": b"POST / HTTP/1.0\r\n" + H + b"Connection: keep-alive\r\n" + CHUNKED + b"\r\n" + EMPTY,
}

# B-01: header lines
FIELDS = {
    "folded": field(b"X: a\r\n b"),
    "folded with a tab": field(b"X: a\r\n\tb"),
    "folded first": GET + b" X: a\r\n" + H + b"\r\n",
    "no colon": field(b"X"),
    "no name": field(b": a"),
    "blank in name": field(b"X Y: a"),
    "parenthesis in name": field(b"X(: a"),
    "slash in name": field(b"X/Y: a"),
    "quote in name": field(b'"X": a'),
    "non-ASCII name": field("Ä: a".encode()),
    "NUL in name": field(b"X\x00: a"),
    "bare CR in name": field(b"X\rY: a"),
    "bare CR in value": field(b"X: a\rb"),
    "bare CR hides a field": field(b"X: a\rContent-Length: 40"),
    "bare CR at the end": field(b"X: a\r"),
    "NUL in value": field(b"X: a\x00b"),
    "escape in value": field(b"X: a\x1bb"),
    "delete in value": field(b"X: a\x7fb"),
    "bare LF after a line": GET + b"Host: a\nX: b\r\n\r\n",
    "bare LF in value": field(b"X: a\nContent-Length: 40"),
    "bare LF at the end": GET + H + b"\n",
    "bare LF everywhere": b"GET /livez HTTP/1.1\nHost: a\n\n",
    "bare LF after the request line": b"GET /livez HTTP/1.1\n" + H + b"\r\n",
    "LF CR": b"GET /livez HTTP/1.1\n\rHost: a\n\r\n\r",
}

# B-03: request lines
LINES = {
    "blank at the end": line(b"GET /livez HTTP/1.1 "),
    "blank first": line(b" GET /livez HTTP/1.1"),
    "tabs": line(b"GET\t/livez\tHTTP/1.1"),
    "vertical tab": line(b"GET\x0b/livez HTTP/1.1"),
    "blank in target": line(b"GET /livez HTTP/1.1 HTTP/1.1"),
    "bare CR in target": line(b"GET /li\rvez HTTP/1.1"),
    "NUL in target": line(b"GET /livez\x00 HTTP/1.1"),
    "control in target": line(b"GET /livez\x01 HTTP/1.1"),
    "no target": line(b"GET HTTP/1.1"),
    "no version": line(b"GET /livez"),
    "HTTP/0.9": line(b"GET /livez HTTP/0.9"),
    "HTTP/1.2": line(b"GET /livez HTTP/1.2"),
    "HTTP/1.10": line(b"GET /livez HTTP/1.10"),
    "HTTP/1": line(b"GET /livez HTTP/1"),
    "HTTP/1.": line(b"GET /livez HTTP/1."),
    "HTTP/01.1": line(b"GET /livez HTTP/01.1"),
    "HTTP/2.0": line(b"GET /livez HTTP/2.0"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/3.0": line(b"GET /livez HTTP/3.0"),
    "small letters": line(b"GET /livez http/1.1"),
    "other protocol": line(b"GET /livez HTTQ/1.1"),
    "comma in version": line(b"GET /livez HTTP/1,1"),
    "method with a colon": line(b"GE:T /livez HTTP/1.1"),
    "method with brackets": line(b"{GET} /livez HTTP/1.1"),
    "method beyond ASCII": line("GÉT /livez HTTP/1.1".encode()),
}

# B-04, B-05: whom it is for
HOSTS = {
    "none": GET + b"\r\n",
    "two": GET + b"Host: a\r\nHost: b\r\n\r\n",
    "two equal": GET + b"Host: a\r\nHost: a\r\n\r\n",
    "with path": GET + b"Host: a/?\r\n\r\n",
    "with fragment": GET + b"Host: a#b\r\n\r\n",
    "with user": GET + b"Host: a@b\r\n\r\n",
    "port and user": GET + b"Host: h:80@evil\r\n\r\n",
    "zone": GET + b"Host: [fe80::1%25eth0]\r\n\r\n",
    "list": GET + b"Host: a, b\r\n\r\n",
    "blank": GET + b"Host: a b\r\n\r\n",
    "none beside an authority": b"GET http://a/livez HTTP/1.1\r\n\r\n",
    "tunnel": b"CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n",
    "authority only": line(b"GET evil:443 HTTP/1.1"),
}

# U-C6: absolute targets that are not ours to take
TARGETS = {
    "user and password": line(b"GET http://a:b@evil:1/livez HTTP/1.1"),
    "user": line(b"GET http://a@evil/livez HTTP/1.1"),
    "empty user": line(b"GET http://@evil/livez HTTP/1.1"),
    "other scheme": line(b"GET ftp://evil/livez HTTP/1.1"),
    "websocket scheme": line(b"GET ws://evil/livez HTTP/1.1"),
    "file": line(b"GET file:///livez HTTP/1.1"),
    "script": line(b"GET javascript://a/livez HTTP/1.1"),
    "no host": line(b"GET http:///livez HTTP/1.1"),
    "two Authorization fields": field(b"Authorization: Bearer a\r\nAuthorization: Bearer a"),
    "port of Host too large": GET + b"Host: a:65536\r\n\r\n",
    "port of Host much too large": GET + b"Host: a:99999\r\n\r\n",
}

# B-10: too much of it
HEADS = {
    "long header": field(b"X: " + b"a" * 9000),
    "long name": field(b"X" * 9000 + b": a"),
    "many headers": GET + H + b"".join(b"X%d: a\r\n" % i for i in range(200)) + b"\r\n",
    "long target": line(b"GET /" + b"a" * 9000 + b" HTTP/1.1"),
    "long method": line(b"A" * 9000 + b" / HTTP/1.1"),
}

# B-17: another protocol
UPGRADES = {
    "websocket": field(b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
    "websocket with a body": field(b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 27")
    + b"GET /smug HTTP/1.1\r\nHost:a\r\n",
    "websocket with chunks": field(b"Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked") + EMPTY,
}

# B-19: not HTTP
NOISE = {
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50 + b"\r\n\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "zeros": b"\0" * 4096,
    "redis": b"*1\r\n$4\r\nPING\r\n",
    "smtp": b"EHLO a\r\n",
    "answer": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "json": b'{"model":"chat"}\r\n\r\n',
}

# B-19: other protocols in the clothes of this one, which some parsers let in
RELATIVES = {
    "RTSP": line(b"OPTIONS /livez RTSP/1.0"),
    "ICE": line(b"SOURCE /livez ICE/1.0"),
    "unknown method": line(b"BREW /livez HTTP/1.1") + b"\0",
    "WebDAV": line(b"PROPFIND /livez HTTP/1.0"),
}

# B-01: chunks, after a head that announces some
CHUNKS = {
    "bare LF in extension": b"5;\nx\r\nabcde\r\n" + EMPTY,
    "bare CR in extension": b"5;a\rb\r\nabcde\r\n" + EMPTY,
    "NUL in extension": b"5;a\x00\r\nabcde\r\n" + EMPTY,
    "bare LF after size": b"5\nabcde\r\n" + EMPTY,
    "bare CR after size": b"5\rabcde\r\n" + EMPTY,
    "bare LF after data": b"5\r\nabcde\n" + EMPTY,
    "bare CR after data": b"5\r\nabcde\r" + EMPTY,
    "nothing after data": b"5\r\nabcde" + EMPTY,
    "more data than said": b"3\r\nabcdef\r\n" + EMPTY,
    "less data than said": b"6\r\nabc\r\n" + EMPTY + b"\r\n",
    "bare LF after the last": b"5\r\nabcde\r\n0\n\n",
    "bare LF at the end": b"5\r\nabcde\r\n0\r\n\n",
    "seventeen digits": b"F" * 17 + b"\r\n",
    "seventeen digits that wrap": b"1" + b"0" * 15 + b"5\r\nabcde\r\n" + EMPTY,
    "plus": b"+5\r\nabcde\r\n" + EMPTY,
    "minus": b"-5\r\nabcde\r\n" + EMPTY,
    "hex sign": b"0x5\r\nabcde\r\n" + EMPTY,
    "underscore": b"0_5\r\nabcde\r\n" + EMPTY,
    "blank before": b" 5\r\nabcde\r\n" + EMPTY,
    "no digit": b"g\r\nabcde\r\n" + EMPTY,
    "no size": b"\r\nabcde\r\n" + EMPTY,
    "extension only": b";a=b\r\nabcde\r\n" + EMPTY,
    "no colon in trailer": b"5\r\nabcde\r\n0\r\nX\r\n\r\n",
    "NUL in trailer": b"5\r\nabcde\r\n0\r\nX: \x00\r\n\r\n",
    "long trailer": b"5\r\nabcde\r\n0\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
    "many trailers": b"5\r\nabcde\r\n0\r\n" + b"".join(b"X%d: a\r\n" % i for i in range(200)) + b"\r\n",
}


def _chat(*chunks: bytes, more: bytes = b"", trailers: bytes = b"") -> bytes:
    return POST + more + CHUNKED + b"\r\n" + b"".join(chunks) + b"0\r\n" + trailers + b"\r\n"


BODY = b'{"model":"chat","messages":[]}'
SIZE = b"%x" % len(BODY)
HIDDEN = b"GET /models HTTP/1.1\r\nHost: a\r\n\r\n"
"""A body that is a request: whoever runs it has taken a body for one."""

# What is legal, however odd, and what it is answered with; the connection is kept
LEGAL = {
    "plain": (200, GET + H + b"\r\n"),
    "empty line first": (200, b"\r\n" + GET + H + b"\r\n"),
    "names in capitals": (200, GET + b"HOST: a\r\nX-REQUEST-ID: b\r\n\r\n"),
    "no blank after colon": (200, GET + b"Host:a\r\n\r\n"),
    "blanks around the value": (200, GET + b"Host: \t a \t \r\n\r\n"),
    "empty value": (200, field(b"X:")),
    "beyond ASCII in a value": (200, field(b"X: \xc3\xa4\xff")),
    "beyond ASCII in the agent": (200, field(b"User-Agent: \xe4")),
    "underscores": (200, field(b"Transfer_Encoding: chunked\r\nContent_Length: 40")),
    "long header": (200, field(b"X: " + b"a" * 8000)),
    "many headers": (200, GET + H + b"".join(b"X%d: a\r\n" % i for i in range(100)) + b"\r\n"),
    "long query": (200, line(b"GET /livez?" + b"a" * 8000 + b" HTTP/1.1")),
    "query": (200, line(b"GET /livez?a=b&c=/../%00 HTTP/1.1")),
    "absolute": (200, line(b"GET http://evil/livez HTTP/1.1")),
    "everything": (404, line(b"OPTIONS * HTTP/1.1")),
    "hex path": (404, line(b"GET /%6civez HTTP/1.1")),
    "kept by an old client": (200, b"GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
    "upgrade without connection": (200, field(b"Upgrade: foo")),
    "websocket without connection": (200, field(b"Upgrade: websocket")),
    "websocket offered by an old client": (200, OLD + b"Upgrade: websocket\r\n\r\n"),
    "other expectation of an old client": (200, OLD + b"Expect: x\r\n\r\n"),
    "HEAD": (200, b"HEAD /livez HTTP/1.1\r\n" + H + b"\r\n"),
    "a request as JSON": (400, length(b"%d" % len(HIDDEN), HIDDEN)),
    "no body": (400, length(b"0", b"")),
    "length with zeros": (200, length(b"00%d" % len(BODY), BODY)),
    "length with blanks": (200, length(b" \t%d \t" % len(BODY), BODY)),
    "invited": (200, POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY),
}  # fmt: skip

# The same, where the server may end the connection in fear of the next request: it says so, and reads no further
LAST = {
    "other protocol offered": (200, field(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c")),
    "other protocols offered": (200, field(b"Connection: keep-alive, Upgrade\r\nUpgrade: foo/1, tcp")),
    "a request as body of GET": (200, GET + H + b"Content-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN),
    "a request as body of HEAD": (200, b"HEAD" + GET[3:] + H + b"Content-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN),
    "a request as chunks of GET": (200, GET + H + CHUNKED + b"\r\n%x\r\n" % len(HIDDEN) + HIDDEN + b"\r\n" + EMPTY),
    "a request as body of PUT": (405, b"PUT" + GET[3:] + H + b"Content-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN),
    "coding in capitals": (200, POST + b"TRANSFER-ENCODING:CHUNKED\r\n\r\n" + SIZE + b"\r\n" + BODY + b"\r\n" + EMPTY),
    "coding with a tab": (200, POST + b"Transfer-Encoding:\tChunked\r\n\r\n" + SIZE + b"\r\n" + BODY + b"\r\n" + EMPTY),
    "one chunk": (200, _chat(SIZE + b"\r\n" + BODY + b"\r\n")),
    "chunks of one byte": (200, _chat(*(b"1\r\n" + BODY[i : i + 1] + b"\r\n" for i in range(len(BODY))))),
    "size in capitals with zeros": (200, _chat(b"000" + SIZE.upper() + b"\r\n" + BODY + b"\r\n")),
    "extensions": (200, _chat(SIZE + b';a=b;c="d e"\r\n' + BODY + b"\r\n")),
    "trailers": (200, _chat(SIZE + b"\r\n" + BODY + b"\r\n", more=b"Trailer: X\r\n", trailers=b"X: y\r\n")),
}  # fmt: skip

# The same, where nothing may follow
FINAL = {
    "old client": (200, b"GET /livez HTTP/1.0\r\n\r\n"),
    "close": (200, field(b"Connection: close")),
    "close in a list": (200, field(b"Connection: x, Close")),
}
