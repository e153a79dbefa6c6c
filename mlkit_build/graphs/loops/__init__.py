"""Loops of both generations: the graph without them, as far as that can be.

Those of TensorFlow 1 (`dynamic_rnn`, `while_loop`, TensorArrays), which no path of TensorFlow's converter takes, are unrolled
where they are short and their number of steps is known; others become a functional While. Functional loops, as TensorFlow 2 and
Keras write them, are unrolled likewise; others stay.
"""

from mlkit_build.graphs.loops.rewrite import has_loops, without_loops

__all__ = ["has_loops", "without_loops"]
