"""Random life: sessions that no author of cases thought of, on a build and on the oracle, shrunk where they differ."""
