"""What turns values into text, HTML or pictures."""
