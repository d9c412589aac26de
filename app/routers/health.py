"""What load balancers and orchestrators ask."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from app.core.errors import DatabaseUnavailableError, ShuttingDownError
from app.dependencies import ServicesDep
from app.schemas.errors import errors

router = APIRouter(prefix="/health", tags=["health"])


class HealthRead(BaseModel):
    """A sign of life."""

    status: Literal["ok"] = "ok"


@router.get("/live", summary="Is the process alive")
async def live() -> HealthRead:
    """Answers as long as the process serves at all; a failure means: restart it."""
    return HealthRead()


@router.get("/ready", summary="Can it take requests", responses=errors(DatabaseUnavailableError, ShuttingDownError))
async def ready(services: ServicesDep) -> HealthRead:
    """Answers 200 when the database is there and migrated, until the process is told to stop.

    The RAG server is not asked: without it, conversations can still be read.
    """
    if services.chat.is_draining:
        raise ShuttingDownError
    await services.database.check()
    return HealthRead()
