"""Pictures to pictures: a photograph in another style, a horse as a zebra."""

from app.tasks.image_to_image.endpoints import router
from app.tasks.image_to_image.pipeline import ImageToImagePipeline as Pipeline

__all__ = ["Pipeline", "router"]
