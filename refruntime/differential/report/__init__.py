"""Say what a comparison found: as text, as JSON, as JUnit."""
