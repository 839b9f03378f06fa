"""The command diff: a build, goldens, or a recording."""
