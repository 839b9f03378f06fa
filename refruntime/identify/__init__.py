"""Find out what an unknown build has, how it names things and which options it chose, before it is judged."""
