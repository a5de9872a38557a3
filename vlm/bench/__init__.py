"""Measurements that print a table: how fast, against what, and how close to the machine's limit."""
