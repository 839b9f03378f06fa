"""Judge an engine that computes the same model by its tokens, logits and choices: equal, rounding, policy or fault."""
