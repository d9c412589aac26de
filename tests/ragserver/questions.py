"""Asking the server, for the tests."""

from typing import Any

import httpx


async def ask(client: httpx.AsyncClient, question: str, **more: object) -> dict[str, Any]:
    """Return the body of a successful answer."""
    answered = await client.post("/api/v1/chat", json={"question": question, **more})
    assert answered.status_code == httpx.codes.OK, answered.text
    body: dict[str, Any] = answered.json()
    assert body["success"] is True
    return body
