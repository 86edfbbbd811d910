"""The rules: pure functions from one resource and a rule's configuration to the violations found.

Owns what is demanded and what is said about it. Leaves enforcement to `rules.pack`, and correctness of a stack (does it
fit, does it exist) to the program: a rule is what an organisation may want stricter or looser.
"""
