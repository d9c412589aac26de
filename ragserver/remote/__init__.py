"""The models that other servers run: embeddings, a reranker and a language model, each over HTTP."""
