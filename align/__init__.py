"""Model to cube and back: prompts, option probabilities, and fine-tuning to a cube of effects."""
