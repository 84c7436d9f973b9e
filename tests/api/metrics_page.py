"""/metrics, as a scraper reads it."""

from __future__ import annotations

from starlette.testclient import TestClient


def metric(client: TestClient, sample: str) -> float:
    """The value of one sample of /metrics; 0 when it is not there."""
    for line in client.get("/metrics").text.splitlines():
        if line.startswith(sample):
            return float(line.rpartition(" ")[2])
    return 0.0
