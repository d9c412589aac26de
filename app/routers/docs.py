"""Swagger UI from our own origin: it works with no internet.

The files come from drf-spectacular-sidecar, which republishes Swagger UI's releases month by month; of the packages
that carry them it is the one that is kept current, and nothing but the files is used.
"""

from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html, get_swagger_ui_oauth2_redirect_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

DOCS_URL = "/docs"
ASSETS_URL = "/docs/assets"
OAUTH2_REDIRECT_URL = "/docs/oauth2-redirect"

router = APIRouter(include_in_schema=False)


def assets() -> StaticFiles:
    """Swagger UI's scripts and styles. The package is found without importing it: it would import Django."""
    package = find_spec("drf_spectacular_sidecar")
    if package is None or package.origin is None:
        raise RuntimeError("drf-spectacular-sidecar is not installed; run `make install`")
    return StaticFiles(directory=Path(package.origin).parent / "static/drf_spectacular_sidecar/swagger-ui-dist")


@router.get(DOCS_URL)
async def swagger_ui() -> HTMLResponse:
    """The page."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="RAG Chat Service",
        swagger_js_url=f"{ASSETS_URL}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS_URL}/swagger-ui.css",
        swagger_favicon_url=f"{ASSETS_URL}/favicon-32x32.png",
        oauth2_redirect_url=OAUTH2_REDIRECT_URL,
        swagger_ui_parameters={"persistAuthorization": True, "displayRequestDuration": True},
    )


@router.get(OAUTH2_REDIRECT_URL)
async def oauth2_redirect() -> HTMLResponse:
    """Where the Authorize dialogue comes back to."""
    return get_swagger_ui_oauth2_redirect_html()
