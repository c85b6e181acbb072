"""What is trained and what is written: adapters, bases of rerankers, model directories."""
