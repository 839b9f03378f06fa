"""Reports as one HTML file without external parts: read on a telephone, printed, sent to others."""
