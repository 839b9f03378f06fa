"""Run cases on two engines, compare, explain, report."""
