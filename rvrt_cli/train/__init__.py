"""Training: the recipe, the step in each framework, batches, checkpoints, validation, launch on many devices."""
