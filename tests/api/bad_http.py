"""Bad inputs to HTTP itself, and to what stands in its headers: name → (bytes, statuses that are right)."""

import gzip
import zlib

from tests.fuzz.target import CANARY, TOKEN, http_bytes

HEALTH = "/v1/health"
WEB = "/v1/namespaces/default/jobs/bad"
#: Where HTTP demands that the connection be closed, an answer comes before it.
REFUSED = frozenset({400})
FINE = frozenset({200})
TYPE = frozenset({415})
Row = tuple[bytes, frozenset[int | None]]


def raw(*lines: str | bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join(line if isinstance(line, bytes) else line.encode() for line in lines) + b"\r\n\r\n" + body


def put(*headers: str, body: bytes = b"") -> bytes:
    """A PUT whose framing is the test's own."""
    own = ("Host: localhost", f"Authorization: Bearer {TOKEN}", "Content-Type: application/json")
    return raw(f"PUT {WEB} HTTP/1.1", *own, *headers, body=body)


def get(*headers: str | bytes, path: str = HEALTH) -> bytes:
    return raw(f"GET {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {TOKEN}", *headers)


def packed(encoding: str, body: bytes) -> bytes:
    return http_bytes("PUT", WEB, body, Content_Encoding=encoding)


CHUNKED = "Transfer-Encoding: chunked"

FRAMING: dict[str, Row] = {
    "content-length and transfer-encoding": (put("Content-Length: 4", CHUNKED, body=b"0\r\n\r\n"), REFUSED),
    "transfer-encoding and content-length": (put(CHUNKED, "Content-Length: 4", body=b"0\r\n\r\n"), REFUSED),
    "transfer-encoding xchunked": (put("Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), REFUSED),
    "transfer-encoding identity": (put("Transfer-Encoding: identity", body=b"{}"), REFUSED),
    "chunked twice": (put("Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"), REFUSED),
    "chunked not last": (put("Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"), REFUSED),
    "two transfer-encodings": (put(CHUNKED, "Transfer-Encoding: identity", body=b"0\r\n\r\n"), REFUSED),
    "chunked with a vertical tab": (put("Transfer-Encoding:\x0bchunked", body=b"0\r\n\r\n"), REFUSED),
    "two content-lengths": (put("Content-Length: 2", "Content-Length: 3", body=b"{}"), REFUSED),
    "the same content-length twice": (put("Content-Length: 2", "Content-Length: 2", body=b"{}"), REFUSED),
    "content-length list": (put("Content-Length: 2, 2", body=b"{}"), REFUSED),
    "content-length negative": (put("Content-Length: -1"), REFUSED),
    "content-length with a plus": (put("Content-Length: +2", body=b"{}"), REFUSED),
    "content-length in hex": (put("Content-Length: 0x2", body=b"{}"), REFUSED),
    "content-length empty": (put("Content-Length: ", body=b"{}"), REFUSED),
    "content-length of 30 digits": (put(f"Content-Length: {10**30}"), REFUSED),
    "content-length of 2**63": (put(f"Content-Length: {2**63}"), frozenset({400, 413})),
    "content-length of 100 GB": (put(f"Content-Length: {10**11}"), frozenset({413})),
    "content-length with underscores": (put("Content-Length: 1_0", body=b"{}"), REFUSED),
    "space before the colon": (put("Content-Length : 2", body=b"{}"), REFUSED),
    "chunk size of 17 digits": (put(CHUNKED, body=b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n"), REFUSED),
    "chunk size negative": (put(CHUNKED, body=b"-2\r\n{}\r\n0\r\n\r\n"), REFUSED),
    "chunk size not hex": (put(CHUNKED, body=b"zz\r\n{}\r\n0\r\n\r\n"), REFUSED),
    "chunk size with 0x": (put(CHUNKED, body=b"0x2\r\n{}\r\n0\r\n\r\n"), REFUSED),
    "chunk longer than said": (put(CHUNKED, body=b"2\r\n{}{}\r\n0\r\n\r\n"), REFUSED),
    "chunk ended by a bare line feed": (put(CHUNKED, body=b"2\n{}\n0\n\n"), REFUSED),
    "chunk extension of 1 MiB": (put(CHUNKED, body=b"2;" + b"x" * (1 << 20) + b"\r\n{}\r\n0\r\n\r\n"), REFUSED),
    "chunk extensions many": (put(CHUNKED, body=b"1;a=b\r\n{\r\n" * 2000 + b"0\r\n\r\n"), REFUSED),
    "chunks of one byte": (put(CHUNKED, body=b"1\r\n \r\n" * 1_000_000 + b"0\r\n\r\n"), REFUSED),
    "chunks beyond the limit": (put(CHUNKED, body=(b"10000\r\n" + b" " * 65536 + b"\r\n") * 20), frozenset({413})),
    "trailers, 100,000": (put(CHUNKED, body=b"2\r\n{}\r\n0\r\n" + b"X-A: 1\r\n" * 100_000 + b"\r\n"), REFUSED),
    "trailer of 1 MiB": (put(CHUNKED, body=b"2\r\n{}\r\n0\r\nX-A: " + b"x" * (1 << 20) + b"\r\n\r\n"), REFUSED),
    "bare line feeds": (get().replace(b"\r\n", b"\n"), frozenset({200, 400})),
    "bare carriage returns": (get().replace(b"\r\n", b"\r") + b"\r\n\r\n", REFUSED),
    "folded header": (get("X-A: 1", " folded"), REFUSED),
    "folded with a tab": (get("X-A: 1", "\tfolded"), REFUSED),
    "header without a colon": (get("nonsense"), REFUSED),
    "header without a name": (get(": 1"), REFUSED),
    "header name with a space": (get("X A: 1"), REFUSED),
    "header name of other characters": (get("X-\u00e4: 1"), REFUSED),
    "NUL in a header": (get("X-A: a\x00b"), REFUSED),
    "carriage return in a header": (get("X-A: a\rX-B: b"), REFUSED),
    "bytes that are no UTF-8 in a header": (get(b"X-A: \xff\xfe\xc0\xaf"), FINE),
    "header of 64 KiB": (get("X-A: " + "x" * 65536), REFUSED),
    "headers, 10,000": (get(*["X-A: 1"] * 10_000), REFUSED),
    "headers without end": (raw(f"GET {HEALTH} HTTP/1.1")[:-2] + b"X-A: 1\r\n" * 200_000 + b"\r\n", REFUSED),
    "URL of 64 KiB": (get(path="/" + "x" * 65536), REFUSED),
    "query of 64 KiB": (get(path=f"{HEALTH}?" + "a=1&" * 16384), REFUSED),
    "method of 64 KiB": (b"X" * 65536 + f" {HEALTH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(), REFUSED),
}

LINES: dict[str, Row] = {
    "version 9.9": (raw(f"GET {HEALTH} HTTP/9.9", "Host: localhost"), REFUSED),
    "version 0.9": (b"GET /v1/health\r\n\r\n", frozenset({200, 400})),
    "version of words": (raw(f"GET {HEALTH} HTTP/one.one", "Host: localhost"), REFUSED),
    "version injected": (raw(f"GET {HEALTH} HTTP/1.1 HTTP/1.1", "Host: localhost"), REFUSED),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", REFUSED),
    "method in small letters": (raw(f"get {HEALTH} HTTP/1.1", "Host: localhost"), REFUSED),
    "method with a tab": (raw(f"GE\tT {HEALTH} HTTP/1.1", "Host: localhost"), REFUSED),
    "method injected": (raw(f"GET\r\nX: 1 {HEALTH} HTTP/1.1", "Host: localhost"), REFUSED),
    "no path": (raw("GET  HTTP/1.1", "Host: localhost"), REFUSED),
    "path without a slash": (raw("GET v1/health HTTP/1.1", "Host: localhost"), REFUSED),
    "NUL in the path": (raw("GET /v1/hea\x00lth HTTP/1.1", "Host: localhost"), REFUSED),
    "path that is no UTF-8": (get(path="/v1/").replace(b"/v1/", b"/v1/\xff\xfe"), frozenset({400, 404})),
    "query that is no UTF-8": (get(path="/v1/jobs?zz").replace(b"zz", b"\xff\xc0\xaf=\xfe"), REFUSED),
    "tag that is no UTF-8": (get(path="/v1/jobs?tag=zz=1").replace(b"zz", b"\xff"), frozenset({200, 400})),
    "absolute URL of another host": (get(path="http://evil.example/v1/jobs"), frozenset({200, 400, 403, 404})),
    "CONNECT": (raw("CONNECT evil.example:443 HTTP/1.1", "Host: evil.example:443"), frozenset({400, 401, 404, 405})),
    "CONNECT to the path": (http_bytes("CONNECT", WEB), frozenset({400, 404, 405})),
    "OPTIONS *": (http_bytes("OPTIONS", "*"), frozenset({400, 404, 405})),
    "OPTIONS with an origin": (http_bytes("OPTIONS", WEB, Origin="http://evil.example"), frozenset({405})),
    "TRACE": (http_bytes("TRACE", WEB), frozenset({405})),
    "PATCH": (http_bytes("PATCH", WEB, b"{}"), frozenset({405})),
    "PROPFIND": (http_bytes("PROPFIND", WEB), frozenset({405})),
    "HEAD of what is not there": (http_bytes("HEAD", WEB), frozenset({404})),
    "GET with a body": (http_bytes("GET", HEALTH, b"[" * 1000), FINE),
    "upgrade to a websocket": (get("Connection: Upgrade", "Upgrade: websocket"), frozenset({200, 400})),
    "upgrade to h2c": (get("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA"), FINE),
    "no host": (raw(f"GET {HEALTH} HTTP/1.1"), frozenset({200, 400})),
    "two hosts": (get("Host: evil.example"), frozenset({200, 400})),
    "host of bytes": (raw(f"GET {HEALTH} HTTP/1.1", b"Host: \xff@[::"), frozenset({200, 400})),
    "method override": (get("X-HTTP-Method-Override: DELETE", path="/v1/jobs"), FINE),
    "URL override": (get("X-Original-URL: /metrics", "X-Rewrite-URL: /metrics"), FINE),
    "TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 600, REFUSED),
    "SSH banner": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", REFUSED),
    "redis command": (b"*1\r\n$4\r\nPING\r\n\r\n", REFUSED),
    "a megabyte of NUL": (b"\x00" * (1 << 20), REFUSED),
    "line ends only": (b"\r\n" * 5 + get(), FINE),
    "a thousand requests at once": (get() * 1000, FINE),
}

HEADERS: dict[str, Row] = {
    "cookies that are none": (get(*["Cookie: =;;\u00e4=(;" + "x" * 4000] * 50), FINE),
    "ranges, 1,000": (get("Range: bytes=0-," + "0-," * 1000, path="/metrics"), FINE),
    "range beyond": (get("Range: bytes=99999999999999999999-", path="/v1/jobs"), FINE),
    "expect nonsense": (get("Expect: miracles", path="/v1/jobs"), frozenset({417})),
    "expect 100 without a body": (get("Expect: 100-continue", path="/v1/jobs"), FINE),
    "accept nothing there is": (get("Accept: image/png", path="/v1/watch"), frozenset({406})),
    "accept of commas": (get("Accept: " + "," * 8000, path="/v1/watch"), frozenset({406})),
    "accept of semicolons": (get("Accept: " + ";q=" * 2500, path="/v1/watch"), frozenset({406})),
    "if-match of nonsense": (http_bytes("DELETE", WEB, If_Match='W/"1.1"'), REFUSED),
    "if-match of 4,000 tags": (http_bytes("DELETE", WEB, If_Match='"1.1",' * 1300), REFUSED),
    "if-match of 30 digits": (http_bytes("DELETE", WEB, If_Match=f'"{10**30}.1"'), REFUSED),
    "if-match of other digits": (http_bytes("DELETE", WEB, If_Match='"\u00b9.\u00b2"'), REFUSED),
    "if-none-match of a tag": (http_bytes("PUT", WEB, b"{}", If_None_Match='"1.1"'), REFUSED),
    "last-event-id of nonsense": (
        get("Last-Event-ID: ../../etc/passwd", "Accept: text/event-stream", path="/v1/watch"),
        REFUSED,
    ),
    "request id that breaks lines": (get(f"X-Request-Id: a%0d%0a{CANARY}"), FINE),
    "request id of markup": (get(f"X-Request-Id: <script>{CANARY}</script>", path="/v1/nothing"), frozenset({404})),
    "forwarded for": (get("X-Forwarded-For: 127.0.0.1\\r\\nX: 1", "Forwarded: for=evil"), FINE),
    "content-type missing": (http_bytes("PUT", WEB, b"{}", Content_Type=None), TYPE),
    "content-type of a form": (http_bytes("PUT", WEB, b"a=1", Content_Type="application/x-www-form-urlencoded"), TYPE),
    "content-type twice over": (http_bytes("PUT", WEB, b"{}", Content_Type="text/plain, application/json"), TYPE),
    "content-type of 8,000 parameters": (
        http_bytes("PUT", WEB, b"{", Content_Type="application/json" + ";a=b" * 1900),
        frozenset({400, 415}),
    ),
    "charset utf-7": (http_bytes("PUT", WEB, b"+AHs-", Content_Type="application/json; charset=utf-7"), TYPE),
    "charset of a codec that is none": (
        http_bytes("PUT", WEB, b"{}", Content_Type="application/json; charset=hex"),
        TYPE,
    ),
    "multipart of 10,000 fields": (
        http_bytes(
            "PUT",
            WEB,
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 10_000 + b"--b--\r\n",
            Content_Type="multipart/form-data; boundary=b",
        ),
        TYPE,
    ),
    "gzip bomb": (packed("gzip", gzip.compress(bytes(200 << 20), 9)), TYPE),
    "gzip of good JSON": (packed("gzip", gzip.compress(b"{}")), TYPE),
    "deflate bomb": (packed("deflate", zlib.compress(bytes(64 << 20), 9)), TYPE),
    "brotli": (packed("br", b"\x0b\x01\x80{}\x03"), TYPE),
    "encodings within each other": (packed("gzip, gzip, gzip", gzip.compress(gzip.compress(b"{}"))), TYPE),
    "encoding that is none": (packed(f"x-{CANARY}", b"{}"), TYPE),
}

DENIED = frozenset({401})
AUTH: dict[str, Row] = {
    "no token": (http_bytes("GET", "/v1/jobs", Authorization=None), DENIED),
    "empty token": (http_bytes("GET", "/v1/jobs", Authorization="Bearer "), DENIED),
    "another scheme": (http_bytes("GET", "/v1/jobs", Authorization=f"Basic {TOKEN}"), DENIED),
    "token alone": (http_bytes("GET", "/v1/jobs", Authorization=TOKEN), DENIED),
    "token with one character more": (http_bytes("GET", "/v1/jobs", Authorization=f"Bearer {TOKEN}x"), DENIED),
    "token with one character less": (http_bytes("GET", "/v1/jobs", Authorization=f"Bearer {TOKEN[:-1]}"), DENIED),
    "token in capitals": (http_bytes("GET", "/v1/jobs", Authorization=f"Bearer {TOKEN.upper()}"), DENIED),
    "JWT signed by nobody": (
        http_bytes("GET", "/v1/jobs", Authorization="Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."),
        DENIED,
    ),
    "token of 8,000 characters": (http_bytes("GET", "/v1/jobs", Authorization="Bearer " + "x" * 8000), DENIED),
    "token of 9,000 characters": (http_bytes("GET", "/v1/jobs", Authorization="Bearer " + "x" * 9000), REFUSED),
    "token of bytes": (get(path="/v1/jobs").replace(TOKEN.encode(), b"\xff\x80" + TOKEN.encode()), DENIED),
    "two tokens": (get(f"Authorization: Bearer {TOKEN}", path="/v1/jobs"), DENIED),
    "token in the query": (http_bytes("GET", f"/v1/jobs?token={TOKEN}"), REFUSED),
    "token in the query in capitals": (http_bytes("GET", f"/v1/jobs?Access_Token={TOKEN}"), REFUSED),
    "token in the query, hidden": (http_bytes("GET", f"/v1/jobs?%74oken={TOKEN}"), REFUSED),
    "token as a cookie": (http_bytes("GET", "/v1/jobs", Authorization=None, Cookie=f"token={TOKEN}"), DENIED),
    "health by another spelling": (http_bytes("GET", "/v1/%68ealth/", Authorization=None), DENIED),
    "health and more": (http_bytes("GET", "/v1/health/../jobs", Authorization=None), DENIED),
    "a mutation without a token": (http_bytes("DELETE", WEB, Authorization=None), DENIED),
    "a large body without a token": (
        http_bytes("PUT", WEB, b"[" * (1 << 20), Authorization=None),
        DENIED,
    ),
}
