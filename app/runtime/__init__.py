"""How a model runs: sessions, batches, the repository. Knows no HTTP and no task."""
