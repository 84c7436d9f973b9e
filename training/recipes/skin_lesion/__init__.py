"""Skin lesions in dermatoscopic images, seven classes: EfficientNet-Lite0 fine-tuned on HAM10000."""
