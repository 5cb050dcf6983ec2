"""Channels to etcd's members, and the calls that go over them: asynchronous ones, and plain ones for a thread.

Nothing is decided here. The calls are those of etcd's own services; ``rpc.proto`` has their messages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio

from harpoon.store.etcd import rpc_pb2 as pb
from harpoon.store.url import EtcdUrl

#: A member that does not answer a ping for so long, while a call is open, is gone. etcd allows a ping each 5 s.
_PING_EVERY_MS: Final = 6_000
_PING_WITHIN_MS: Final = 3_000
_RECONNECT_MS: Final = (100, 1_000)
_OPTIONS: Final[tuple[tuple[str, int | str], ...]] = (
    # Lists and watches are bounded by pages, not by bytes.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", _PING_EVERY_MS),
    ("grpc.keepalive_timeout_ms", _PING_WITHIN_MS),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", _RECONNECT_MS[0]),
    ("grpc.min_reconnect_backoff_ms", _RECONNECT_MS[1]),
    ("grpc.max_reconnect_backoff_ms", _RECONNECT_MS[1]),
    # Whether a call may be sent again is ours to say.
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
    # What another channel of this process went through is no concern of this one's.
    ("grpc.use_local_subchannel_pool", 1),
    # etcd is inside; a proxy is the way out.
    ("grpc.enable_http_proxy", 0),
)


@dataclass(frozen=True, slots=True)
class Method:
    """A call of etcd's: one request and one answer, or a stream of both."""

    path: str
    answer: Any
    is_stream: bool = False


RANGE: Final = Method("/etcdserverpb.KV/Range", pb.RangeResponse)
TXN: Final = Method("/etcdserverpb.KV/Txn", pb.TxnResponse)
COMPACT: Final = Method("/etcdserverpb.KV/Compact", pb.CompactionResponse)
WATCH: Final = Method("/etcdserverpb.Watch/Watch", pb.WatchResponse, is_stream=True)
GRANT: Final = Method("/etcdserverpb.Lease/LeaseGrant", pb.LeaseGrantResponse)
REVOKE: Final = Method("/etcdserverpb.Lease/LeaseRevoke", pb.LeaseRevokeResponse)
KEEP_ALIVE: Final = Method("/etcdserverpb.Lease/LeaseKeepAlive", pb.LeaseKeepAliveResponse, is_stream=True)
STATUS: Final = Method("/etcdserverpb.Maintenance/Status", pb.StatusResponse)
AUTHENTICATE: Final = Method("/etcdserverpb.Auth/Authenticate", pb.AuthenticateResponse)


def _serialize(message: Any) -> bytes:
    """Return a message's bytes."""
    data: bytes = message.SerializeToString()
    return data


class Caller:
    """The calls over one channel, made once."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self._calls: dict[str, Any] = {}

    def call(self, method: Method) -> Any:
        """Return what makes a call: of a request for plain methods, of nothing or of requests for streams."""
        found = self._calls.get(method.path)
        if found is None:
            make = self.channel.stream_stream if method.is_stream else self.channel.unary_unary
            found = make(method.path, request_serializer=_serialize, response_deserializer=method.answer.FromString)
            self._calls[method.path] = found
        return found


class Credentials:
    """What proves us to the members, and them to us; read from files once."""

    def __init__(self, url: EtcdUrl) -> None:
        self._options = list(_OPTIONS)
        self._tls: grpc.ChannelCredentials | None = None
        if url.is_tls:
            files = {name: _read(name, getattr(url, name)) for name in ("ca", "cert", "key")}
            self._tls = grpc.ssl_channel_credentials(files["ca"], files["key"], files["cert"])
        if url.server_name is not None:
            self._options.append(("grpc.ssl_target_name_override", url.server_name))

    def open(self, endpoint: str) -> Caller:
        """Open a channel for the event loop's calls; it connects when it is used."""
        if self._tls is None:
            return Caller(grpc.aio.insecure_channel(endpoint, options=self._options))
        return Caller(grpc.aio.secure_channel(endpoint, self._tls, options=self._options))

    def open_plain(self, endpoint: str) -> Caller:
        """Open a channel for a thread's calls; it connects when it is used."""
        if self._tls is None:
            return Caller(grpc.insecure_channel(endpoint, options=self._options))
        return Caller(grpc.secure_channel(endpoint, self._tls, options=self._options))


def metadata(token: str) -> Sequence[tuple[str, str]]:
    """Return what goes with each call: a member that knows no leader is to say so at once, not to wait for one."""
    return (("hasleader", "true"), ("token", token)) if token else (("hasleader", "true"),)


def read_password(url: EtcdUrl) -> str:
    """Return the password, which is the only line of its file.

    Raises:
        ValueError: It cannot be read, or is empty.
    """
    data = _read("password_file", url.password_file) or b""
    password = data.decode(errors="replace").strip()
    if not password:
        raise ValueError(f"the store's password_file {url.password_file} is empty")
    return password


def _read(what: str, path: Any) -> bytes | None:
    if path is None:
        return None
    try:
        return bytes(path.read_bytes())
    except OSError as error:
        raise ValueError(f"the store's {what} {path}: {error.strerror or error}") from error
