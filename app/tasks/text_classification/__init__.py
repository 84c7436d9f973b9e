"""Texts to labels, and the words that pushed them there."""

from app.tasks.text_classification.endpoints import router
from app.tasks.text_classification.pipeline import TextClassificationPipeline as Pipeline

__all__ = ["Pipeline", "router"]
