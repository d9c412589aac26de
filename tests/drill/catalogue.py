"""All faults: importing a module of them enters them into the list."""

from tests.drill import (  # noqa: F401 - imported for what they enter
    faults_boundary,
    faults_client,
    faults_database,
    faults_machine,
    faults_process,
    faults_request,
    faults_sqlite,
    faults_upstream,
    faults_viewer,
)
from tests.drill.faults import FAULTS

__all__ = ["FAULTS"]
