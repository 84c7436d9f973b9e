"""What the model card says in words. The figures come from `evaluate`."""

from __future__ import annotations

from collections.abc import Sequence

from app.contract.manifest import License
from training.kit.card import in_words, listed

TITLE = "Skin lesions"
NOTICE = "Research software, not a medical device."
INTENDED_USE = (
    "Teaching and research on image classification, calibration and the choice of decision thresholds, with dermatoscopic images "
    "of pigmented lesions. Not for diagnosis, triage or any other decision about a person's health."
)
LIMITATIONS = (
    "Not a medical device: no clinical study, no regulator has seen it.",
    "Trained and measured on one public data set (HAM10000: two clinics, in Vienna and in Queensland, mostly light skin); "
    "other cameras, clinics and skin types were not measured.",
    "Dermatoscopic images only, of one lesion in the centre. On ordinary photographs, healthy skin or anything else the answer "
    "means nothing, and the model cannot say that it does not know.",
    "Seven diagnoses only: what is none of them is given to one of them all the same. "
    "Invasive squamous cell carcinoma and other rare tumours are absent.",
    "Dermatofibroma, vascular lesions and actinic keratosis are rare in the data, so their figures are uncertain: "
    "look at the counts and intervals.",
    "Sensitivity differs between ages, sexes and body sites (see measurements.subgroups), and some groups have too few melanomas to tell.",
    "More than half of the data set's diagnoses were confirmed by histopathology, the others by follow-up, expert consensus or microscopy.",
)
LICENSE = License(
    name="CC-BY-NC-4.0",
    url="https://creativecommons.org/licenses/by-nc/4.0/",
    notice=(
        "The weights follow the licence of HAM10000 (Tschandl, Rosendahl and Kittler 2018, doi:10.1038/sdata.2018.161), which allows "
        "no commercial use. They started from EfficientNet-Lite's ImageNet weights (Apache-2.0)."
    ),
)
SYNTHETIC_LICENSE = License(name="Apache-2.0", notice="EfficientNet-Lite0's ImageNet weights, tuned on drawn pictures.")


def description(variants: Sequence[str]) -> str:
    """Of one network of EfficientNet, or of the mean of several."""
    names = listed([f"EfficientNet-{variant.capitalize()}" for variant in variants])
    networks = f"The mean of {in_words(len(variants))} networks, {names}" if len(variants) > 1 else f"One network, {names}"
    return (
        "Seven diagnoses from one dermatoscopic image, as calibrated probabilities, and a decision for melanoma, keratosis or "
        "any malignant lesion at a threshold whose sensitivity and specificity were measured on lesions that training never saw. "
        f"{networks}, fine-tuned on HAM10000."
    )


def limitations(image_size: int) -> tuple[str, ...]:
    return (*LIMITATIONS, f"An image is seen at {image_size} x {image_size} px; finer detail is not used.")
