"""Programs that try the project at length: every seeded bug, random builds, fuzzed files. Tests run them in part."""
