"""The Open Inference Protocol v2 (KServe, Triton) over every served model: knows tensors, and no task."""

from fastapi import APIRouter

from app.api.open_inference import endpoints, inference, repository

router = APIRouter()
router.include_router(endpoints.router)
router.include_router(inference.router)
router.include_router(repository.router)

__all__ = ["router"]
