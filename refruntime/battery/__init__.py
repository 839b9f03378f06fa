"""Generated cases, one module for each family, and the models that they load."""
