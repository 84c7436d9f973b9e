"""The baseline: the same model as one would serve it in an afternoon. A streaming FastAPI endpoint, a step a request, no batching."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from app.contract.manifest import load_manifest
from app.contract.sampling import Sampler, SamplingOptions
from app.runtime.cores import available_cores
from app.runtime.session import OrtSession
from app.tasks.text_generation import Pipeline


class Request(BaseModel):
    model: str
    prompt: str
    max_tokens: int
    temperature: float
    seed: int
    stream: bool


def create_app(directory: Path) -> FastAPI:
    manifest = load_manifest(directory)
    pipeline = Pipeline.load(manifest, directory)
    session = OrtSession(directory / manifest.graphs["model"].file, threads=available_cores())
    app = FastAPI()

    def events(request: Request) -> Iterator[str]:
        ids = pipeline.preprocess(request.prompt)[0]
        sampler = Sampler(1, pipeline.tokenizer.vocabulary_size)
        sampler.add(SamplingOptions(temperature=request.temperature, seed=request.seed), ids)
        outputs = session.run(pipeline.collate([ids]))
        for _ in range(request.max_tokens):
            chosen = sampler.sample(outputs["logits"][:, -1])
            yield f"data: {json.dumps({'choices': [{'text': pipeline.tokenizer.decode(chosen)}]})}\n\n"
            outputs = session.run({"input_ids": chosen[:, None], "lengths": np.ones(1, dtype=np.int64), "state": outputs["next_state"]})

    @app.get("/health/ready")
    def ready() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/v1/completions")
    def complete(request: Request) -> StreamingResponse:
        return StreamingResponse(events(request), media_type="text/event-stream")

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--port", type=int)
    arguments = parser.parse_args()
    uvicorn.run(create_app(arguments.directory), port=arguments.port, log_level="error")
