"""README's tables as the code and the manifests have them: what the document must say."""

from __future__ import annotations

from pathlib import Path

from app.api.error_handlers import ROUTING_KINDS
from app.contract.manifest import ModelManifest, load_manifest
from app.errors import BadRequest, ServingError
from app.http_head import LATE, TOO_LONG
from app.settings import Settings

HEADLINES = {  # a manifest's metric -> its name in the table, in this order
    "melanoma_auroc": "melanoma AUROC",
    "macro_auroc": "macro AUROC",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "nats_per_character": "nats per character",
    "frechet_ratio_to_untranslated": "Frechet distance over that of untranslated pictures",
    "total_loss_over_gatys_lbfgs_100": "loss over that of 100 steps of Gatys' method",
}


def setting_rows() -> list[str]:
    return [
        f"| `AXON_{name.upper()}` | {'' if field.default is None else f'`{_shown(field.default)}`'} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]


def error_kinds() -> set[tuple[str, str]]:
    """(status, type) of every error in the tree, and of those before and beside it: no such path, a head that is too long."""
    kinds, classes = {(str(status), kind) for status, kind in ROUTING_KINDS.items()}, [ServingError]
    kinds |= {(str(status), BadRequest.type) for status in (LATE, TOO_LONG)}
    while classes:
        error = classes.pop()
        kinds.add((str(error.status), error.type))
        classes += error.__subclasses__()
    return kinds


def model_rows(models: Path) -> list[str]:
    """A row for the newest version of each model."""
    folders = sorted(folder for folder in models.iterdir() if folder.is_dir())
    return [_model_row(max(folder.iterdir(), key=lambda version: int(version.name))) for folder in folders]


def _model_row(directory: Path) -> str:
    manifest = load_manifest(directory)
    recipe = f"training/recipes/{manifest.provenance.recipe.replace('-', '_')}/README.md"
    megabytes = sum((directory / graph.file).stat().st_size for graph in manifest.graphs.values()) / 1e6
    data = ", ".join(source.name for source in manifest.provenance.data)
    cells = [
        f"[{manifest.name}]({recipe})",
        manifest.task,
        data,
        _headline_figures(manifest),
        f"{megabytes:.1f} MB",
        manifest.license.name,
    ]
    return f"| {' | '.join(cells)} |"


def _headline_figures(manifest: ModelManifest) -> str:
    """The served file's figures; of several with one name the first, which `evaluate` puts first."""
    served = {metric.name: metric for metric in reversed(manifest.metrics) if (metric.note or "").startswith("ONNX Runtime")}
    figures = []
    for name, title in HEADLINES.items():
        if name in served:
            low, high = served[name].ci95 or (float("nan"), float("nan"))
            figures.append(f"{title} {served[name].value:.3f} ({low:.3f} to {high:.3f})")
    return "; ".join(figures) + f"; n = {max(metric.n for metric in served.values()):,}"


def _shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)
