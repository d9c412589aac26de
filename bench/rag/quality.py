"""Asks every set of questions over a folder: simpler engines, then ours, stage by stage."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from documents import ROOT as WORK
from sets import Set, sets

from ragserver.config import Settings
from ragserver.evaluation.engine import ladder
from ragserver.evaluation.metrics import RANKED, Outcome
from ragserver.evaluation.report import Report, as_json, evaluate_all
from ragserver.evaluation.variants import passages_of, simpler_engines
from ragserver.opening import open_pipeline
from ragserver.remote.models import Models


@dataclass(frozen=True, slots=True)
class Result:
    """How every engine did on one set; the last engine is the whole server."""

    asked: Set
    reports: Sequence[Report]

    @property
    def whole(self) -> Sequence[Outcome]:
        """What became of the questions with every stage."""
        return self.reports[-1].outcomes


async def results(folder: str, half: str) -> list[Result]:
    """Return how every engine did on every set over a folder; what became of each question is kept in a file."""
    settings = settings_of(folder)
    passages = passages_of(settings.rag_docs_dir, settings.rag_chunk_chars)
    opened = await open_pipeline(settings, Models())
    found = []
    with closing(opened.store), simpler_engines(passages) as simpler:
        engines = [*simpler, *ladder(opened.search.with_stages)]
        for asked in sets(folder, half, passages):
            found.append(Result(asked, await evaluate_all(engines, asked.cases)))
            _keep(f"{asked.name}--{half}", as_json(found[-1].reports))
    return found


def settings_of(folder: str) -> Settings:
    """Return the defaults over a folder, whatever the environment says, with ten passages a question for MRR@10."""
    defaults = {name: field.get_default() for name, field in Settings.model_fields.items()}
    chosen = {"rag_docs_dir": WORK / folder, "rag_db": WORK / "indexes" / f"{folder}.db", "rag_top_k": RANKED}
    return Settings(**defaults | chosen)


def _keep(name: str, text: str) -> None:
    path = WORK / "results" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
