"""What is asked of every error, whichever route told it."""

from typing import Any

from tests.api.rig import Answer


def as_problem(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is a whole problem, and return it."""
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    told: dict[str, Any] = answer.json
    assert (told["status"], told["code"], told["type"]) == (status, code, f"urn:harpoon:problem:{code}")
    assert told["title"]
    assert told["detail"]
    assert told["request_id"] == answer.headers["X-Request-Id"]
    return told
