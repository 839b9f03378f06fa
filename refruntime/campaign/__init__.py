"""Campaigns: the same work as tasks that may run anywhere and twice, and a ledger in which each result counts once."""
