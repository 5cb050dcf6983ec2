"""What the doors count. Low in cardinality: routes as written, never names of jobs, tasks or agents."""

from collections.abc import Callable
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_METHODS: Final = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE"})


class Meters:
    """Counters of one application, kept in the registry of its instance."""

    def __init__(self, registry: CollectorRegistry, *, stays: Callable[[], int]) -> None:
        self.requests = Counter(
            "harpoon_http_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "harpoon_http_request_seconds",
            "Time from a request's headers to its answer; requests that stay open are left out.",
            ["method"],
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30),
            registry=registry,
        )
        self.encoded = Counter(
            "harpoon_watch_events_encoded", "Events encoded; each goes to any number of watchers.", registry=registry
        )
        self.slow_readers = Counter(
            "harpoon_watch_slow_readers", "Watchers cut off because they did not keep up.", registry=registry
        )
        self._requests: dict[tuple[str, str, int], Counter] = {}
        self._seconds: dict[str, Histogram] = {}
        open_stays = Gauge("harpoon_http_stays", "Watches and waits that are open.", registry=registry)
        open_stays.set_function(stays)

    def count(self, request: web.Request, response: web.StreamResponse, seconds: float) -> None:
        """Count one answered request."""
        resource = request.match_info.route.resource
        route = "unknown" if resource is None else resource.canonical
        method = request.method if request.method in _METHODS else "other"
        key = (method, route, response.status)
        requests = self._requests.get(key)
        if requests is None:
            requests = self._requests[key] = self.requests.labels(method, route, str(response.status))
        requests.inc()
        if isinstance(response, web.Response):
            if method not in self._seconds:
                self._seconds[method] = self.request_seconds.labels(method)
            self._seconds[method].observe(seconds)


METERS: web.AppKey[Meters] = web.AppKey("meters", Meters)
