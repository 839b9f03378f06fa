"""Turn text bytes into token ids and back."""
