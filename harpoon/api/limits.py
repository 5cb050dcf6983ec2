"""How much of anything one client may ask for, each number with its reason."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of the doors; sizes in bytes, spans in seconds."""

    #: A document must fit one commit of the store, which is at most 1 MiB.
    body_bytes: int = 1 << 20
    #: A megabyte in so long needs 50 kB/s; who is slower holds a connection for nothing.
    body_s: float = 20.0
    #: The request line and each header field: a long URL and a long token fit, little else needs more.
    line_bytes: int = 8190
    #: Header fields of one request: browsers and proxies send about thirty.
    headers: int = 64
    #: A connection that is idle, or still sending its headers, is closed after so long.
    idle_s: float = 60.0
    #: Connections at once: those that stay open, and as many again that come and go.
    connections: int = 20_000
    #: Requests answered at once, without those that stay open: their bodies together are a gigabyte at most.
    requests: int = 1000
    #: A reader has so long to take an answer whole: the largest list there may be, over a bad line.
    answer_s: float = 300.0
    #: What is left of a refused body is read for so long, so that the refusal arrives before the connection closes.
    linger_s: float = 2.0
    #: A mutation that the store has not answered by then is answered "unknown": less than clients' usual 60 s.
    mutation_s: float = 30.0
    #: Longest ``wait`` of a change; proxies often cut after more.
    wait_s: float = 300.0
    #: What a worker brings back at once: the largest output there may be, and many small ones beside it.
    work_bytes: int = 4 << 20
    #: Documents to plan, of which each would be declared for itself: the largest there may be, and some beside it.
    documents_bytes: int = 4 << 20
    #: A plan that is to be applied: ten thousand placements and as many tasks take about six megabytes.
    plan_bytes: int = 64 << 20
    #: Documents sent as lines, all together: a few hundred thousand small ones.
    bulk_bytes: int = 64 << 20
    #: Such requests at once: each may have some ten megabytes under way, and one keeps a processor busy.
    bulks: int = 4
    #: A snapshot that is read page by page is kept for so long: a person leafs, a program takes seconds.
    snapshot_s: float = 300.0
    #: Snapshots at once, and items in all of them: references, some 200 bytes each beside what the view has anyway.
    snapshots: int = 256
    snapshot_items: int = 1_000_000
    #: A read that wants a revision waits so long for this instance to have it; it is milliseconds behind, or stuck.
    catch_up_s: float = 5.0
    #: Requests that stay open at once, watches and waits: 10,000 sockets are well within one process.
    stays: int = 10_000
    #: Events queued for one watcher: a second of a very busy registry.
    queue_events: int = 2048
    #: Bytes queued for one watcher; those who are told the same share them.
    queue_bytes: int = 4 << 20
    #: Encoded events kept for watchers that come back: enough for all to resume after a short outage.
    cache_bytes: int = 8 << 20
    #: A bookmark so often tells a watcher that the stream lives: half of the usual idle limit of proxies, 30 s.
    bookmark_s: float = 15.0
    #: A reader that takes nothing for so long is cut off.
    stall_s: float = 30.0
    #: The last word of a stream has so long to be read.
    farewell_s: float = 5.0
    #: Whether the store still has what the view does not keep is to be known before the answer begins.
    history_s: float = 2.0
