"""What a page did with its build, recorded there and judged here."""
