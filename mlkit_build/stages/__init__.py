"""The five stages: load, freeze, convert, validate, package. Each action is a pure function over params and paths.

A stage sees no cache, no Hydra, no terminal, no clock and no network. Its params come as plain values and become a frozen
dataclass first thing.
"""
