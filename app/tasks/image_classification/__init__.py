"""Pictures to labels, and, where the manifest has targets, to decisions with measured error rates."""

from app.tasks.image_classification.endpoints import router
from app.tasks.image_classification.pipeline import ImageClassificationPipeline as Pipeline

__all__ = ["Pipeline", "router"]
