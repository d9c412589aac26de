"""The OpenAPI document and Swagger UI's page."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.errors import AppError
from app.main import create_app
from tests.server import make_settings

COMMITTED = Path(__file__).parent.parent / "docs/openapi.json"
DOCUMENT: dict[str, Any] = create_app(make_settings()).openapi()
OPERATIONS = [
    (method, path, operation) for path, item in DOCUMENT["paths"].items() for method, operation in item.items()
]


def schema_of(reference: dict[str, Any]) -> dict[str, Any]:
    """The schema behind a reference."""
    name = reference["$ref"].rpartition("/")[2]
    schema: dict[str, Any] = DOCUMENT["components"]["schemas"][name]
    return schema


def known_codes(kind: type[AppError] = AppError) -> set[str]:
    return {sub.code for sub in kind.__subclasses__() if hasattr(sub, "code")}.union(
        *(known_codes(sub) for sub in kind.__subclasses__())
    )


class TestDocument:
    def test_committed_document_is_true(self) -> None:
        assert json.loads(COMMITTED.read_text()) == DOCUMENT, "run `make openapi` and commit docs/openapi.json"

    @pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
    def test_operation_is_described_with_examples_in_both_directions(
        self, method: str, path: str, operation: dict[str, Any]
    ) -> None:
        assert operation["summary"]
        assert operation["description"]
        request = operation.get("requestBody", {}).get("content", {}).get("application/json")
        bodies = [request["schema"]] if request else []
        if stream := operation["responses"].get("200", {}).get("content", {}).get("text/event-stream"):
            assert stream["schema"]["$ref"].endswith("/StreamEvent")
            assert stream["example"]
            return
        bodies += [
            operation["responses"][status]["content"]["application/json"]["schema"]
            for status in ("200", "201", "202")
            if status in operation["responses"]
        ]
        assert bodies
        for body in bodies:
            for name, field in schema_of(body)["properties"].items():
                is_composed = {"$ref", "anyOf", "items", "const"} & field.keys()
                assert field.get("description") or is_composed, f"{method} {path}: {name} is not described"
                assert field.get("examples") or "default" in field or is_composed, (
                    f"{method} {path}: {name}: no example"
                )

    @pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
    def test_errors_are_documented_in_the_envelope(self, method: str, path: str, operation: dict[str, Any]) -> None:
        failures = {status: r for status, r in operation["responses"].items() if status >= "400"}
        for response in failures.values():
            content = response["content"]["application/json"]
            assert content["schema"]["$ref"].endswith("/ErrorRead")
            assert {example["value"]["code"] for example in content["examples"].values()} <= known_codes()
        if path.startswith("/api/v1/chatbot/"):
            assert {"401", "422", "503"} <= failures.keys()
            assert operation["security"] == [{"JWT": []}]
        if "{" in path:
            assert "404" in failures

    def test_a_code_has_one_status_everywhere(self) -> None:
        pairs = {
            (example["value"]["code"], status)
            for _, _, operation in OPERATIONS
            for status, response in operation["responses"].items()
            if status >= "400"
            for example in response["content"]["application/json"]["examples"].values()
        }
        assert len(pairs) == len({code for code, _ in pairs})


class TestSwaggerUi:
    async def test_page_and_its_files_come_from_our_own_origin(self, anonymous: httpx.AsyncClient) -> None:
        page = await anonymous.get("/docs")
        links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert page.status_code == 200
        assert "https://" not in page.text
        assert len(links) == 3
        for link in links:
            assert (await anonymous.get(link)).status_code == 200

    async def test_authorize_posts_to_the_form_endpoint(self, anonymous: httpx.AsyncClient) -> None:
        document = (await anonymous.get("/openapi.json")).json()
        flow = document["components"]["securitySchemes"]["JWT"]["flows"]["password"]
        assert flow["tokenUrl"] == "/api/v1/auth/token/"
        assert (await anonymous.post(flow["tokenUrl"], data={"username": "a", "password": "b"})).status_code == 401

    async def test_way_back_from_authorize_exists(self, anonymous: httpx.AsyncClient) -> None:
        assert (await anonymous.get("/docs/oauth2-redirect")).status_code == 200
