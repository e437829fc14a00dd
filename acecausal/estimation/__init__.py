"""From a survey to a cube: identification, plan, fits, inference, refutation, shrinkage."""
