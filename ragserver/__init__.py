"""The reference RAG server: the upstream contract, answered from a folder of Markdown documents."""

import os

# Read when numpy is imported. With more threads, products of a fraction of a millisecond wait for each other: measured,
# a p95 of 8 to 28 ms.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
