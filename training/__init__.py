"""Offline recipes: PyTorch on real data, ending in a proved ONNX export for the server in `app`."""
