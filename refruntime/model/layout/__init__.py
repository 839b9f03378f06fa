"""What a model consists of, as one tree: the tensors that it needs and the weights that it runs on."""
