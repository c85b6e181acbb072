"""From training samples to a retriever or a reranker that drops back in."""
