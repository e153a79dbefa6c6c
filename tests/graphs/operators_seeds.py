"""What operators are tried with: which of them, the arguments that chance would not find, and graphs written by hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

IN_COMPANY = re.compile(
    r"Erfc?|TensorList.*|EmptyTensorList|LookupTable.*|HashTable.*|QuantizeV2|FakeQuant.*|Merge|(Ref)?Switch|Enter|Exit|LoopCond"
)
"""What converts with the right neighbours, whatever becomes of it alone: Erf and Erfc make a GELU, a table needs its kind."""

_NOT_TRIED = """
_.* .*>.* .*Dataset.* .*Iterator.* .*TPU.* .*SparseCore.* .*Grad(V.|Ex|Image|Boxes|A|WithArgmax|WithShape)? .*Summary
.*Gradient .*BackpropFilter.* .*GradGrad Xla.* Tpu.* Collective.* Risc.* Boosted.* Sdca.* Nccl.* Debug.* Experimental.*
Outfeed.* Infeed.* Configure.* Load.* Retrieve.* Enqueue.* DynamicEnqueue.* Rpc.* Stats.* DTensor.* Resource.*
Scatter(Add|Sub|Mul|Div|Min) Scatter(Max|Update|Nd(Add|Sub|Max|Min|Update)) Apply.* Sparse(Apply|Accum|Cond).* Conditional.*
Cudnn.* Test.* Attr.* Assign.* Write.* Summary.* Reader.* Barrier.* Mutex.* Uniform(Quant|Deq|Req).* Requ.* Save.* Restore.*
Shard.* MergeV2.* Send Recv Host.* Abort Sleep.* Sync.* Copy.* Delete.* Destroy.* Anonymous.* Register.* Import.* Relayout.*
Get.* Store.* Sort.* Convert.* Wrap.* Unwrap.* Dummy.* Stub.* Is(Boosted|TensorFloat).* Accumulator.* Symbolic.* Remote.*
Old.* KMC2.* Kernel.* Bad.* A B Foo. None Unary Binary OutT.* Simple.* NoOp Const For
(Int|Float|Two(Float|Int|Refs)|FiveFloat|Int64)(In|Out).* Refs?In.* RefOut.* IntAttr TypeList.* ListInput ListOutput
(NIn|NInts|NPoly|InPoly|Poly).* OpWith.* OutTypeList.* MixedStruct.* Func.* StringList.* ComplexStruct Dtype.* Device.*
Global.* GraphDef.* CrossReplica.* AudioSummary.* Matching.* Fake(Param|Queue) Reserved.* Requires.* Construction.* FileSys.*
Timestamp Worker.* UpdateTask.* Prelin.* MergeDedup.* SplitDedup.* ComputeDed.* Mlir.* NegTrain Skipgram DefaultAttrs Dump.*
Disable.* Distrib.* Placeholder.* Restrict Polymorphic.* AllToAll CheckPinned NonDeterministicInts (Matrix)?Generate.*
DeepCopy.* Kmeans.* .*UnigramCandidate.* .*CandidateSampler Compute.* AddMany.* AddSparseTo.* TakeMany.* CloseSum.* FlushSum.*
CreateSum.* Composite.* Optional.* ThreadPool.* FixedLength.* LMDB.* Identity.*Reader.* TextLine.* TFRecord.* WholeFile.*
RecordInput VarIs.* IsVariable.* Make.* Window.*
"""
NOT_TRIED = re.compile("|".join(f"^{pattern}$" for pattern in _NOT_TRIED.split()))
"""Training, files, distribution, other compilers and TensorFlow's own tests: nothing that a frozen graph's outputs need."""

ATTRIBUTES: dict[str, Any] = {
    "ksize": [1, 2, 2, 1],
    "ksizes": [1, 2, 2, 1],
    "strides": [1, 1, 1, 1],
    "rates": [1, 1, 1, 1],
    "padding": "SAME",
    "pooling_ratio": [1.0, 1.4, 1.4, 1.0],
    "shape": [2, 2],
    "block_size": 2,
    "mode": "REFLECT",
    "equation": "ij,jk->ik",
    "window_size": 16,
    "stride": 8,
    "num_bits": 8,
    "num_partitions": 2,
    "num_split": 2,
    "num": 2,
    "k": 2,
    "num_buckets": 5,
    "bits": 8,
    "min": 0.0,
    "max": 1.0,
    "pattern": "a",
    "rewrite": "b",
    "template": "{}",
    "boundaries": [0.2, 0.4],
    "input_encoding": "UTF-8",
    "output_encoding": "UTF-8",
    "key": [1, 2],
    "message": "found",
    "upper_frequency_limit": 4000.0,
    "num_lower": 1,
    "data_format": "NHWC",
    "merge_op": "Min",
    "final_op": "Id",
    "seq_dim": 1,
    "batch_dim": 0,
    "max_output_size_per_class": 3,
    "T": "float32",
    "compression_type": "",
    "method_name": "x",
    "num_hash_buckets": 5,
    "hash_key": 1,
    "ngram_width": [2],
    "separator": " ",
    "ngram_widths": [2],
    "left_pad": "",
    "right_pad": "",
    "pad_width": 0,
    "preserve_short_sequences": False,
    "minlength": -1,
    "maxlength": -1,
    "binary_output": False,
    "multiples": 2,
    "lu": 1,
    "func": None,
}
"""What the attributes without a default are given, by name."""

FIVE_D = {"ksize": [1, 2, 2, 2, 1], "strides": [1, 1, 1, 1, 1], "data_format": "NDHWC"}
PREFERRED_TYPES = ("float32", "int32", "int64", "string", "bool", "uint8", "complex64", "quint8", "resource")
FLOAT_SHAPES = (
    (1, 8, 8, 4),
    (4, 4),
    (4,),
    (),
    (1, 8, 8, 8, 4),
    (2, 4, 4),
    (3, 3, 4, 2),
    (2,),
    (5, 4),
    (1, 4),
    (1, 64),
    (2, 2, 2, 4, 2),
)
INTEGERS = (1, 0, 2, [4, 4], [0], [1], [1, 1], [0, 1], [1, 0, 2], [0, 3, 1, 2], [2, 2], [1, 2, 0, 1], [8, 8], [1, 8, 8, 4])
INTEGERS += (
    [[0, 0], [1, 1]],
    [[1, 1], [1, 1]],
    [[0, 0], [1, 1], [1, 1], [0, 0]],
    [2, 3],
    4,
    [1, 1, 1, 1],
    [0, 0, 0, 0],
    [3, 1, 2, 0],
)  # type: ignore[assignment]
_ONE, _ZERO, _HALF = np.float32(1), np.float32(0), np.float32(0.5)
_PIXELS, _BOXES, _SPARSE = (1, 8, 8, 4), (5, 4), np.array([[0, 0], [1, 1]], np.int64)
SEEDS: tuple[tuple[str, list[Any]], ...] = (
    ("FusedBatchNorm(V[23])?", [_PIXELS, (4,), (4,), (4,), (4,)]),
    ("BatchNormWithGlobalNormalization", [_PIXELS, (4,), (4,), (4,), (4,)]),
    ("NonMaxSuppression(V2)?", [_BOXES, (5,), 3, _HALF]),
    ("NonMaxSuppressionV[34]", [_BOXES, (5,), 3, _HALF, _HALF]),
    ("NonMaxSuppressionV5", [_BOXES, (5,), 3, _HALF, _HALF, _ZERO]),
    ("NonMaxSuppressionWithOverlaps", [(5, 5), (5,), 3, _HALF, _HALF]),
    ("CombinedNonMaxSuppression", [(1, 5, 1, 4), (1, 5, 3), 3, 3, _HALF, _HALF]),
    ("Conv2DBackpropInput", [[1, 8, 8, 4], (3, 3, 4, 2), (1, 8, 8, 2)]),
    ("Conv2DBackpropInputV2", [_PIXELS, (3, 3, 4, 2), (1, 8, 8, 2)]),
    ("DepthwiseConv2dNativeBackpropInput", [[1, 8, 8, 4], (3, 3, 4, 1), (1, 8, 8, 4)]),
    ("Conv3DBackpropInputV2", [[1, 8, 8, 8, 4], (2, 2, 2, 4, 2), (1, 8, 8, 8, 2)]),
    ("StridedSlice", [(4, 4), [0, 0], [2, 2], [1, 1]]),
    ("MatrixDiagV[23]", [(4,), 0, -1, -1, _ZERO]),
    ("MatrixSetDiagV[23]", [(4, 4), (4,), 0]),
    ("MatrixDiagPartV[23]", [(4, 4), 0, _ZERO]),
    ("MatrixSetDiag", [(4, 4), (4,)]),
    ("MatrixBandPart", [(4, 4), -1, 0]),
    ("MatrixExponential", [(4, 4)]),
    ("Cross", [(4, 3), (4, 3)]),
    ("HSVToRGB|RGBToHSV", [(1, 8, 8, 3)]),
    ("ScatterNd", [[[0], [1]], (2, 4), [4, 4]]),
    ("TensorScatter.*", [(4, 4), [[0], [1]], (2, 4)]),
    ("SparseToDense", [_SPARSE, np.array([4, 4], np.int64), (2,), _ZERO]),
    ("SparseTensorDenseMatMul", [_SPARSE, (2,), np.array([4, 4], np.int64), (4, 4)]),
    ("SparseTensorDenseAdd", [_SPARSE, (2,), np.array([4, 4], np.int64), (4, 4)]),
    ("SparseReshape", [_SPARSE, np.array([4, 4], np.int64), np.array([2, 8], np.int64)]),
    ("SparseReorder|SparseSoftmax", [_SPARSE, (2,), np.array([4, 4], np.int64)]),
    ("SparseFillEmptyRows", [_SPARSE, (2,), np.array([4, 4], np.int64), _ZERO]),
    ("SparseReduce(Sum|Max)", [_SPARSE, (2,), np.array([4, 4], np.int64), [0]]),
    ("SparseSegment(Sum|Mean|SqrtN)", [(4, 4), [0, 1], [0, 0]]),
    ("SparseSegment.*WithNumSegments", [(4, 4), [0, 1], [0, 0], 2]),
    ("Segment(Sum|Max|Min|Prod|Mean)", [(4, 4), [0, 0, 1, 1]]),
    ("Segment.*V2|UnsortedSegment(Sum|Max|Min|Prod)", [(4, 4), [0, 0, 1, 1], 3]),
    ("OneHot", [[0, 1, 2], 4, _ONE, _ZERO]),
    ("ImageProjectiveTransformV2", [_PIXELS, (1, 8), [4, 4]]),
    ("ImageProjectiveTransformV3", [_PIXELS, (1, 8), [4, 4], _ZERO]),
    ("CTC(Greedy|BeamSearch)Decoder", [(8, 1, 4), [8]]),
    ("Bincount", [[0, 1, 2], 4, np.zeros(0, np.float32)]),
    ("DenseBincount", [[0, 1, 2], 4, np.zeros(0, np.float32)]),
    ("SpaceToBatchND", [_PIXELS, [2, 2], [[0, 0], [0, 0]]]),
    ("BatchToSpaceND", [(4, 8, 8, 4), [2, 2], [[0, 0], [0, 0]]]),
    ("ClipByValue", [(4, 4), _ZERO, _ONE]),
    ("FakeQuantWithMinMaxVars", [(4, 4), _ZERO, _ONE]),
    ("FakeQuantWithMinMaxVarsPerChannel", [(4, 4), np.zeros(4, np.float32), np.ones(4, np.float32)]),
    ("QuantizeAndDequantizeV[24]", [(4, 4), _ZERO, _ONE]),
    ("QuantizeAndDequantizeV3", [(4, 4), _ZERO, _ONE, 8]),
    ("DynamicStitch|ParallelDynamicStitch", [[0, 1, 2], (3, 4)]),
    ("DynamicPartition", [(4, 4), [0, 1, 0, 1]]),
    ("ExtractGlimpse(V2)?", [_PIXELS, [4, 4], (1, 2)]),
    ("ExtractVolumePatches", [(1, 8, 8, 8, 4)]),
    ("FusedPadConv2D", [_PIXELS, [[0, 0], [1, 1], [1, 1], [0, 0]], (3, 3, 4, 2)]),
    ("FusedResizeAndPadConv2D", [_PIXELS, [4, 4], [[0, 0], [1, 1], [1, 1], [0, 0]], (3, 3, 4, 2)]),
    ("ScaleAndTranslate", [_PIXELS, [4, 4], (2,), (2,)]),
    ("RaggedTensorToTensor", [[4, 4], (3,), _ZERO, [0, 2, 3]]),
    ("RaggedRange", [0, 4, 1]),
    ("UnravelIndex", [3, [4, 4]]),
    ("LowerBound|UpperBound", [(1, 4), (1, 3)]),
    ("EuclideanNorm", [(4, 4), [0]]),
    ("ListDiff", [[1, 2, 3], [2]]),
    ("Inplace(Add|Sub|Update)", [(4, 4), [0, 1], (2, 4)]),
    ("Fingerprint", [(4, 4), np.array(b"farmhash64")]),
    ("Substr", [np.array([b"abc"]), 0, 1]),
    ("StringNGrams", [np.array([b"a", b"b"]), np.array([0, 2], np.int64)]),
    ("RegexReplace", [np.array([b"abc"]), np.array(b"a"), np.array(b"b")]),
    ("TridiagonalSolve", [(3, 4), (4, 4)]),
    ("TridiagonalMatMul", [(1, 4), (1, 4), (1, 4), (4, 4)]),
    ("SplitV", [(4, 4), [2, 2], 0]),
    ("SetSize", [_SPARSE, np.array([1, 2], np.int64), np.array([4, 4], np.int64)]),
    ("Multinomial", [(4, 4), 2]),
    ("RandomUniformInt", [[2, 2], 0, 4]),
    ("StatelessRandom(Uniform|Normal)|StatelessTruncatedNormal", [[2, 2], np.array([1, 2], np.int64)]),
    ("Cum(sum|prod)|CumulativeLogsumexp", [(4, 4), 0]),
    ("Atan2|Xdivy|Xlogy|Xlog1py|DivNoNan|MulNoNan", [(4, 4), (4, 4)]),
    ("ConcatOffset", [0, [4, 4]]),
    ("DataFormatVecPermute", [[1, 2, 3, 4]]),
    ("Roll", [(4, 4), 1, 0]),
    ("ReverseSequence", [(4, 4), [1, 2, 3, 4]]),
    ("LinSpace", [_ZERO, _ONE, 4]),
    ("Einsum", [(4, 4), (4, 4)]),
    ("LRN|AvgPool|MaxPool|Dilation2D|ResizeArea", [_PIXELS]),
    ("MaxPoolV2", [_PIXELS, [1, 2, 2, 1], [1, 2, 2, 1]]),
)


def written() -> dict[str, Callable[[Any], Any]]:
    """Return, by operator, what builds a graph around one that needs a handle or a list of features; it returns the output."""
    import tensorflow as tf

    def features(tf1: Any) -> Any:
        return tf1.io.parse_example(tf1.placeholder("string", [2]), {"a": tf.io.FixedLenFeature([2], tf.float32)})["a"]

    def old_features(tf1: Any) -> Any:
        arguments = {"names": tf.constant([], tf.string), "sparse_keys": [], "sparse_types": [], "dense_keys": ["a"]}
        serialized = tf1.placeholder("string", [2])
        defaults = {"dense_defaults": [tf.zeros([2])], "dense_shapes": [[2]]}
        return tf.raw_ops.ParseExample(serialized=serialized, **arguments, **defaults).dense_values[0]

    def sequence(tf1: Any) -> Any:
        wanted = {"a": tf.io.FixedLenSequenceFeature([2], tf.float32)}
        return tf.io.parse_single_sequence_example(tf1.placeholder("string", []), sequence_features=wanted)[1]["a"]

    def queue(tf1: Any) -> Any:
        return tf1.FIFOQueue(3, [tf.float32], [[4]]).dequeue() * tf1.placeholder("float32", [4])

    def many(tf1: Any) -> Any:
        return tf1.FIFOQueue(3, [tf.float32], [[4]]).dequeue_many(2) * tf1.placeholder("float32", [2, 4])

    def up_to(tf1: Any) -> Any:
        return tf1.FIFOQueue(3, [tf.float32], [[4]]).dequeue_up_to(2) * tf1.placeholder("float32", [2, 4])

    def shuffled(tf1: Any) -> Any:
        return tf1.RandomShuffleQueue(9, 2, [tf.float32], [[4]]).dequeue() * tf1.placeholder("float32", [4])

    def padded(tf1: Any) -> Any:
        return tf1.PaddingFIFOQueue(9, [tf.float32], [[4]]).dequeue() * tf1.placeholder("float32", [4])

    def iterator(tf1: Any) -> Any:
        samples = tf1.data.make_initializable_iterator(tf.data.Dataset.from_tensors(tf.zeros([4])))
        return samples.get_next() * tf1.placeholder("float32", [4])

    def one_shot(tf1: Any) -> Any:
        samples = tf1.data.make_one_shot_iterator(tf.data.Dataset.from_tensors(tf.zeros([4])))
        return samples.get_next() * tf1.placeholder("float32", [4])

    def python(tf1: Any) -> Any:
        return tf.reshape(tf1.py_func(abs, [tf1.placeholder("float32", [4])], tf.float32), [4])

    def stateless(tf1: Any) -> Any:
        return tf.reshape(tf1.py_func(abs, [tf1.placeholder("float32", [4])], tf.float32, stateful=False), [4])

    def eager(tf1: Any) -> Any:
        return tf.reshape(tf.py_function(abs, [tf1.placeholder("float32", [4])], tf.float32), [4])

    def table(tf1: Any) -> Any:
        return tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, 0).lookup(tf1.placeholder("string", [4]))

    return {
        "ParseExampleV2": features,
        "ParseExample": old_features,
        "ParseSequenceExampleV2": sequence,
        "FIFOQueueV2": queue,
        "QueueDequeueV2": queue,
        "QueueDequeueManyV2": many,
        "QueueDequeueUpToV2": up_to,
        "RandomShuffleQueueV2": shuffled,
        "PaddingFIFOQueueV2": padded,
        "IteratorV2": iterator,
        "IteratorGetNext": iterator,
        "OneShotIterator": one_shot,
        "PyFunc": python,
        "PyFuncStateless": stateless,
        "EagerPyFunc": eager,
        "MutableHashTableV2": table,
    }
