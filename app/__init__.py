"""The Axon server: trained models over REST. It runs exported ONNX graphs and never imports torch."""
