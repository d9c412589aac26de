"""Stage 1: how near each chunk is to a question, by the vectors of both."""

from ragserver.question import Question, tokens_of, translated_tokens_of
from ragserver.store import Store
from ragserver.vectors import Floats, question_vector


def local(asked: Question, store: Store) -> Floats | None:
    """Return the cosine of each chunk in the order of the rows; None where no word of the question has a vector."""
    concepts = asked.concepts + asked.context
    vector = question_vector(store.term_vectors(tokens_of(concepts) | translated_tokens_of(concepts)))
    return None if vector is None else store.vectors @ vector
