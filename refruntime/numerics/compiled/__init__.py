"""Speed that changes no bit: compiled loops, the threads that share them, and when loading them pays."""
