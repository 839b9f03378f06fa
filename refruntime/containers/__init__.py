"""Turn artifact bytes into tables of metadata and tensors: GGUF and SLM1, readers and writers."""
