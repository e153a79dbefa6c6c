"""Loops of TensorFlow 1 (`dynamic_rnn`, `while_loop`, TensorArrays), which no path of TensorFlow's converter takes: without them.

Short loops with a known number of steps are unrolled; others become a functional While, as TensorFlow 2 writes it.
"""

from mlkit_build.graphs.loops.rewrite import has_loops, without_loops

__all__ = ["has_loops", "without_loops"]
