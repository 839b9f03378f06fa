"""What else would explain a difference: the catalogue, attempts, gaps of the contract."""
