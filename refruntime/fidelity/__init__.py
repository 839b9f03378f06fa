"""Tell how far two models lie apart: their distributions token by token, and their intermediates layer by layer."""
