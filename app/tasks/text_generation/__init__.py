"""Texts that go on from a prompt, through Axon's own endpoint, OpenAI's and Triton's."""

from fastapi import APIRouter

from app.tasks.text_generation import endpoints, generate, openai
from app.tasks.text_generation.pipeline import TextGenerationPipeline as Pipeline

__all__ = ["Pipeline", "router"]

router = APIRouter()
router.include_router(endpoints.router)
router.include_router(openai.router)
router.include_router(generate.router)
