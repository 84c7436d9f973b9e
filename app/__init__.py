"""The Axon server: trained models over REST. It runs exported ONNX graphs and never imports torch."""

__version__ = "0.1.0"
