"""Trains the LSTM of this recipe and writes its checkpoint, with the same weights on every run.

Writes, beside this file:

    model/digits_lstm.ckpt.{meta,index,data-00000-of-00001}   the TensorFlow 1 checkpoint (no optimizer state)
    labels.txt                                                the digits 0 to 9

Nothing is written when the model does not reach 98 % on the test images.

The images are those of the recipe `mnist`, whose `train.py` says where they come from and reads them; run this one from the
folder above `recipes`, as `python -m recipes.digits_lstm.train --data package/data`.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.compat import v1 as tf1

from recipes.mnist.train import (
    Digits,
    digest_of_weights,
    read_digits,
    save_checkpoint,
    scaled,
    session_config,
    shifted_batches,
)

SEED = 1997
STEPS = 12_000
UNITS = 64
LEARNING_RATE = 4e-3
LARGEST_GRADIENT = 1.0
FORGET_BIAS = 1.0
REQUIRED_ACCURACY = 0.98


@dataclass(frozen=True)
class Model:
    """The tensors that training and evaluation feed and fetch."""

    rows: tf.Tensor
    label: tf.Tensor
    logits: tf.Tensor
    train: tf.Operation


class LSTMCell:
    """What `dynamic_rnn` asks of a cell; the arithmetic and the variables' names are those of TensorFlow 1's `LSTMCell`."""

    def __init__(self, units: int) -> None:
        self.output_size = units
        self.state_size = (units, units)

    def zero_state(self, batch_size: tf.Tensor, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the state before the first step: twice [batch, units] of zeros."""
        with tf1.name_scope("LSTMCellZeroState"):
            shape = tf.stack([batch_size, self.output_size])
            return tf.zeros(shape, dtype), tf.zeros(shape, dtype, name="zeros_1")

    def __call__(self, inputs: tf.Tensor, state: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor]]:
        """Returns one step's output, [batch, units], and the next state."""
        memory, output = state
        with tf1.variable_scope("lstm_cell"):
            kernel = variable("kernel", [inputs.shape[-1] + self.output_size, 4 * self.output_size])
            bias = variable("bias", [4 * self.output_size])
            gates = tf.nn.bias_add(tf.matmul(tf.concat([inputs, output], axis=1), kernel), bias)
            enter, candidate, forget, leave = tf.split(gates, 4, axis=1)
            kept = tf.sigmoid(forget + FORGET_BIAS) * memory
            memory = kept + tf.sigmoid(enter) * tf.tanh(candidate)
            output = tf.sigmoid(leave) * tf.tanh(memory)
        return output, (memory, output)


def main() -> None:
    options = parse_options()
    tf1.logging.set_verbosity(tf1.logging.ERROR)
    tf.config.experimental.enable_op_determinism()
    tf1.disable_control_flow_v2()  # while loops as TensorFlow 1 wrote them: Enter, Merge, Switch, NextIteration, Exit

    training = read_digits(options.data, "train")
    test = read_digits(options.data, "t10k")

    with tf.Graph().as_default() as graph, tf1.Session(graph=graph, config=session_config()) as session:
        tf1.set_random_seed(SEED)
        model = build_model(options.steps)
        saver = tf1.train.Saver(tf1.trainable_variables())
        train(session, model, training, options.steps)

        accuracy = measure_accuracy(session, model, test)
        print(f"weights sha256 {digest_of_weights(session)}")
        print(f"test accuracy  {accuracy:.4f}")
        if accuracy < REQUIRED_ACCURACY:
            raise SystemExit(f"the test accuracy is below {REQUIRED_ACCURACY}: nothing was written")

        save_checkpoint(session, saver, options.output / "model" / "digits_lstm.ckpt")
    (options.output / "labels.txt").write_text("".join(f"{digit}\n" for digit in range(10)))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the LSTM over MNIST's rows and write the recipe's files.")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="holds the four MNIST idx files")
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps (default: %(default)s)")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent, metavar="FOLDER", help="default: the recipe's folder"
    )
    return parser.parse_args()


def build_model(steps: int) -> Model:
    """Adds the classifier, its loss and its optimizer to the current graph."""
    rows = tf1.placeholder(tf.float32, [None, 28, 28], name="rows")
    label = tf1.placeholder(tf.int64, [None], name="label")

    outputs, _ = tf1.nn.dynamic_rnn(LSTMCell(UNITS), rows, dtype=tf.float32)
    with tf1.variable_scope("dense"):
        product = tf.matmul(outputs[:, -1], variable("kernel", [UNITS, 10]), name="product")
        bias = variable("bias", [10])
    logits = tf.nn.bias_add(product, bias, name="logits")

    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=label, logits=logits), name="loss")
    step = tf1.train.get_or_create_global_step()
    optimizer = tf1.train.AdamOptimizer(tf1.train.cosine_decay(LEARNING_RATE, step, steps))
    gradients, variables = zip(*optimizer.compute_gradients(loss), strict=True)
    gradients, _ = tf.clip_by_global_norm(gradients, LARGEST_GRADIENT)
    optimize = optimizer.apply_gradients(zip(gradients, variables, strict=True), global_step=step, name="train")
    return Model(rows, label, logits, optimize)


def variable(name: str, shape: list[int]) -> tf.Variable:
    """Returns a ref variable (VariableV2), as TensorFlow 1 made them by default."""
    initializer = tf1.zeros_initializer() if name == "bias" else tf1.initializers.glorot_uniform()
    return tf1.get_variable(name, shape, initializer=initializer, use_resource=False)


def train(session: tf1.Session, model: Model, digits: Digits, steps: int) -> None:
    session.run(tf1.global_variables_initializer())
    started = time.monotonic()
    for step, (rows, labels) in enumerate(row_batches(digits, steps), start=1):
        session.run(model.train, {model.rows: rows, model.label: labels})
        if step % 1000 == 0 or step == steps:
            print(f"step {step:6}  {time.monotonic() - started:4.0f} s", flush=True)


def row_batches(digits: Digits, steps: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Yields the batches that `mnist` is trained on, each image as its 28 rows: [batch, 28, 28] in 0..1."""
    for images, labels in shifted_batches(digits, steps):
        yield images[..., 0], labels


def measure_accuracy(session: tf1.Session, model: Model, digits: Digits) -> float:
    """Returns the share of images whose largest logit is their label's."""
    correct = 0
    for start in range(0, len(digits.labels), 1000):
        part = slice(start, start + 1000)
        logits = session.run(model.logits, {model.rows: scaled(digits.images[part])[..., 0]})
        correct += int(np.sum(logits.argmax(axis=1) == digits.labels[part]))
    return correct / len(digits.labels)


if __name__ == "__main__":
    main()
