"""Bad inputs in paths and queries: name → (bytes, statuses that are right)."""

from tests.api.bad_http import REFUSED, Row, get
from tests.fuzz.target import CANARY, http_bytes

#: Ways to leave a directory, or to be taken for something else by a file system, a shell or a terminal.
SPELLINGS = (
    "..",
    "../",
    "../../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/",
    "%2e%2e%2f",
    "..%252f..%252f",
    "....//....//",
    "%c0%ae%c0%ae%c0%af",
    "..%5c..%5c",
    "\\..\\",
    "%2fetc%2fpasswd",
    "C:%5c",
    "foo%00.log",
    "%2fproc%2fself%2fenviron",
    ".",
    "%2e",
    "CON",
    "web.",
    "web%20",
    "%0d%0aX-Injected:%201",
    "%1b%5b2J",
    "%e2%80%ae",
    "%ff",
    "%ed%a0%80",
    "%",
    "%zz",
    "*",
    "$(id)",
    "%60id%60",
    "%3b%20id",
    "-rf",
    "x" * 255,
    "x" * 5000,
    "%78" * 2600,
    "a%2fb",
    "__class__",
    "{name}",
    "{0.__class__}",
    "%25s%25n",
    "1" * 4400,
)
NOWHERE = frozenset({400, 404, 405})
#: A job that is there, with one task that runs.
GOOD = "/v1/namespaces/default/jobs/good"

PATHS: dict[str, Row] = {
    **{f"a job called {name[:30]}": (get(path=f"/v1/namespaces/default/jobs/{name}"), NOWHERE) for name in SPELLINGS},
    **{f"logs of {name[:30]}": (get(path=f"/v1/tasks/{name}/logs"), NOWHERE) for name in SPELLINGS},
    **{
        f"{what} {path[:40]}": (http_bytes(method, path), NOWHERE)
        for what, method, path in (
            ("read", "GET", "/v1/agents/..%2f..%2fetc"),
            ("read", "GET", "/v1/changes/..%2f..%2fetc"),
            ("read", "GET", "/v1/changes/default.web.1-" + "9" * 4400),
            ("read", "GET", "/v1/changes/default.web.\u00b2-\u00b2".encode().decode("latin-1")),
            ("read", "GET", "/v1/namespaces/..%2f../jobs"),
            ("read", "GET", "/v1/namespaces/default/tasks/default.web.0.1-" + "9" * 4400),
            ("read", "GET", "/v1/namespaces/default/tasks/default.web.%c2%b2.1-1"),
            ("read", "GET", "/v1/namespaces/default/tasks/default.web." + "9" * 4400),
            ("read", "GET", "/v1/namespaces/default/tasks/..%2f..%2f.1.1-1"),
            ("read", "GET", "/v1/namespaces/default/tasks/other.web.0.1-1"),
            ("delete", "DELETE", "/v1/agents/..%2f..%2fetc"),
            ("delete", "DELETE", "/v1/namespaces/default/jobs/..%2f..%2fholds"),
            ("read", "GET", "/etc/passwd"),
            ("read", "GET", "//etc/passwd"),
            ("read", "GET", "/static/../../etc/passwd"),
            ("read", "GET", "/v1"),
            ("read", "GET", "/v1/"),
            ("read", "GET", "/v2/jobs"),
            ("read", "GET", "/V1/JOBS"),
            ("read", "GET", "/v1/jobs;a=b"),
            ("read", "GET", "/v1/jobs%3fnamespace=a"),
        )
    },
}

QUERIES: dict[str, Row] = {
    name: (get(path=path), REFUSED)
    for name, path in {
        "a parameter nobody knows": f"/v1/jobs?{CANARY}=1",
        "a parameter of nothing": "/v1/jobs?=1",
        "a parameter twice": "/v1/watch?after=1.1&after=1.2",
        "a parameter as a list": "/v1/watch?after[]=1.1",
        "tag without =": "/v1/jobs?tag=team",
        "tag without a key": "/v1/jobs?tag==x",
        "tag of NUL without =": "/v1/jobs?tag=%00",
        "after of nothing": "/v1/watch?after=",
        "after of words": "/v1/watch?after=latest",
        "after of 4,000 digits": f"/v1/watch?after=1.{'9' * 4000}",
        "after below zero": "/v1/watch?after=-1.-1",
        "after in other digits": "/v1/watch?after=%d9%a1.%d9%a1",
        "after with a line feed": "/v1/watch?after=1.1%0a",
        "kinds of nothing": "/v1/watch?kinds=",
        "kinds of nonsense": "/v1/watch?kinds=pods",
        "kinds of commas": f"/v1/watch?kinds={',' * 4000}",
        "a namespace above": "/v1/watch?namespace=../x",
        "a name of NUL": "/v1/watch?name=%00",
        "wait of nothing": "/v1/changes/default.bad.1-1?wait=",
        "wait of a day": "/v1/changes/default.bad.1-1?wait=1d",
        "wait of 10**12 days": "/v1/changes/default.bad.1-1?wait=999999999999d",
        "wait of 4,000 digits": f"/v1/changes/default.bad.1-1?wait={'9' * 4000}s",
        "wait of infinity": "/v1/changes/default.bad.1-1?wait=inf",
        "wait below zero": "/v1/changes/default.bad.1-1?wait=-1s",
        "tail of 4,400 digits": f"{GOOD}/logs?tail={'9' * 4400}",
        "tail below zero": f"{GOOD}/logs?tail=-1",
        "tail in other digits": f"{GOOD}/logs?tail=%c2%b2",
        "follow of yes": f"{GOOD}/logs?follow=yes",
        "stream of a path": f"{GOOD}/logs?stream=../task.json",
        "slot and task": f"{GOOD}/logs?slot=0&task=default.bad.0.1-1",
        "slot of words": f"{GOOD}/logs?slot=zero",
        "slot of 10**10": f"{GOOD}/logs?slot=9999999999",
    }.items()
}
