"""One folder a model. Recipes never import each other."""
