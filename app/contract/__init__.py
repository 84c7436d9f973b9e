"""What training and serving share: one implementation of every procedure, one class for the manifest.

Imports numpy, Pillow, pydantic, tokenizers, the standard library and `app.errors`; nothing else.
"""
