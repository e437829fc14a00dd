"""acecausal: what each attribute of a persona does to survey answers, in people and in language models."""
