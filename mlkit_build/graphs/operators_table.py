"""Which of TensorFlow's operators convert to LiteRT's builtins. Found out by converting them, not read anywhere.

TensorFlow 2.21: `python -m tests.graphs.operators_trial` built graphs of one operator each - types, shapes, constant and fed
arguments, flags, such as TensorFlow itself runs - and converted them. An operator that is in no set was in no valid trial, broke
the converter, or depends on its neighbours (Erf converts inside a GELU): about it nothing is known before the converter ran.
The sets were put together from several runs while the script grew; one complete run of its last form is still to be made.
"""

from __future__ import annotations

_BUILTIN = """
Abs Add AddN AddV2 All Any ApproxTopK ArgMax ArgMin Atan2 AvgPool BatchMatMul BatchMatMulV2 BatchMatMulV3 BatchToSpaceND
BiasAdd BiasAddV1 Bincount Bitcast BitwiseXor BroadcastArgs BroadcastTo Bucketize Cast Ceil CheckNumerics ComplexAbs Concat
ConcatV2 Conv2D Conv2DBackpropInput Conv3D Conv3DBackpropInputV2 Cos Cumsum DecodePaddedRaw DepthToSpace DepthwiseConv2dNative
Div DivNoNan DynamicStitch Einsum Elu Empty EnsureShape Equal Exp ExpandDims Expm1 Fact FakeQuantWithMinMaxArgs
FakeQuantWithMinMaxVars Fill Floor FloorDiv FloorMod FusedBatchNorm FusedBatchNormV3 Gather GatherNd GatherV2 Greater
GreaterEqual IRFFT2D IRFFT3D Identity IdentityN Imag Inv InvertPermutation IsFinite IsInf IsNan L2Loss LRN LeakyRelu Less
LessEqual Lgamma Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr MatMul MatrixBandPart MatrixDiag MatrixDiagV2
MatrixDiagV3 MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3 Max MaxPool Maximum Mean Min Minimum MirrorPad Mul MulNoNan
Multinomial Neg NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5 NotEqual OneHot OnesLike Pack Pad PadV2
ParallelDynamicStitch Pow Prod QuantizeAndDequantizeV2 QuantizeAndDequantizeV4 RFFT RFFT2D RandomStandardNormal RandomUniform
Range Rank Real RealDiv Reciprocal Relu Relu6 Reshape ResizeBilinear ResizeNearestNeighbor ReverseSequence ReverseV2
RightShift Rint Roll Round Rsqrt ScatterNd SegmentMaxV2 SegmentMinV2 SegmentProdV2 SegmentSum SegmentSumV2 Select SelectV2
Selu Shape ShapeN Sigmoid Sign Sin Size Slice Snapshot Softmax Softplus Softsign SpaceToBatchND SpaceToDepth SparseMatMul
SparseReduceSum SparseSoftmaxCrossEntropyWithLogits SparseToDense Split SplitV Sqrt Square SquaredDifference Squeeze
StridedSlice StringToHashBucketFast Sub Sum Tanh TensorScatterAdd TensorScatterUpdate Tile ToBool TopKV2 Transpose TruncateDiv
Unique Unpack UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum Where Xdivy Xlog1py Xlogy ZerosLike
"""
_SELECT = """
AdjustContrastv2 AdjustHue AdjustSaturation Angle ApproximateEqual AsString Atan AudioSpectrogram AvgPool3D BitwiseAnd
BitwiseOr BroadcastGradientArgs CTCGreedyDecoder CheckNumericsV2 Cholesky ClipByValue CombinedNonMaxSuppression Complex
ConcatOffset Conj Cosh CropAndResize Cumprod CumulativeLogsumexp DataFormatDimMap DecodeAndCropJpeg DecodeBase64 DecodeBmp
DecodeGif DecodeImage DecodeJpeg DecodePng DecodeRaw DecodeWav DenseBincount DepthwiseConv2dNativeBackpropInput Diag DiagPart
Dilation2D Dilation2DBackpropInput DynamicPartition EncodeBase64 EncodeJpeg EncodeJpegVariableQuality EncodePng EncodeWav
ExtractImagePatches FFT FFT2D FFT3D FIFOQueueV2 Fingerprint FusedBatchNormV2 FusedPadConv2D FusedResizeAndPadConv2D HSVToRGB
IFFT IFFT2D IFFT3D IRFFT InTopK InTopKV2 InplaceAdd InplaceSub InplaceUpdate Invert LeftShift LinSpace ListDiff
LogMatrixDeterminant MatrixDeterminant MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3 MatrixInverse MatrixTriangularSolve
MaxPool3D MaxPoolV2 MaxPoolWithArgmax Mfcc MutableHashTableV2 NonMaxSuppression NonMaxSuppressionV2
NonMaxSuppressionWithOverlaps PaddingFIFOQueueV2 ParseExample ParseExampleV2 ParseSequenceExampleV2 PopulationCount Print Qr
QuantizedConcat QuantizedReshape QuantizedResizeBilinear QueueDequeueManyV2 QueueDequeueUpToV2 QueueDequeueV2 QueueIsClosedV2
QueueSizeV2 RFFT3D RGBToHSV RaggedBincount RaggedRange RaggedTensorToSparse RandomGamma RandomPoissonV2 RandomShuffle
RandomUniformInt ReadFile ReduceJoin RegexFullMatch RegexReplace ResizeBicubic Reverse SampleDistortedBoundingBox
ScatterNdNonAliasingAdd SegmentMax SegmentMean SegmentMin SegmentProd SerializeTensor Sinh SoftmaxCrossEntropyWithLogits
SpaceToBatch SparseBincount SparseFillEmptyRows SparseReorder SparseReshape SparseSegmentMean SparseSegmentMeanWithNumSegments
SparseSegmentSqrtN SparseSegmentSqrtNWithNumSegments SparseSegmentSum SparseSegmentSumWithNumSegments SparseSlice
SparseTensorDenseMatMul StackPopV2 StackPushV2 StatelessMultinomial StatelessRandomGammaV2 StatelessRandomGammaV3
StatelessRandomGetAlg StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg StatelessRandomNormal
StatelessRandomNormalV2 StatelessRandomPoisson StatelessRandomUniform StatelessRandomUniformFullInt
StatelessRandomUniformFullIntV2 StatelessRandomUniformInt StatelessRandomUniformV2 StatelessTruncatedNormal
StatelessTruncatedNormalV2 StaticRegexFullMatch StaticRegexReplace StringJoin StringLength StringLower StringSplit
StringSplitV2 StringStrip StringToHashBucket StringToHashBucketStrong StringToNumber Substr Tan TensorArrayConcatV2
TensorArrayConcatV3 TensorArrayGatherV3 TensorArrayReadV3 TensorArrayScatterV3 TensorArraySizeV3 TensorArraySplitV3
TensorArrayV3 TensorArrayWriteV3 TensorScatterMax TensorScatterMin TensorScatterSub TruncatedNormal UnicodeDecode
UnicodeEncode UnicodeTranscode UniqueV2 UniqueWithCounts UnsortedSegmentJoin UpperBound
"""
_CUSTOM = """
AccumulateNV2 Acos Acosh Asin Asinh Atanh AudioMicrofrontend BandedTriangularSolve BesselI0 BesselI0e BesselI1 BesselI1e
BesselJ0 BesselJ1 BesselK0 BesselK0e BesselK1 BesselK1e BesselY0 BesselY1 Betainc BlockLSTM BlockLSTMV2 Conv
Conv2DBackpropInputV2 Cross Dawsn DecodeCSV DecodeCompressed DecodeJSONExample DecodeJxl DecodeWebP DenseCountSparseOutput
Digamma DrawBoundingBoxes DrawBoundingBoxesV2 EagerPyFunc Eig Erfinv EuclideanNorm Expint ExtractGlimpse ExtractGlimpseV2
ExtractJpegShape FFTND FractionalAvgPool FractionalMaxPool FresnelCos FresnelSin GRUBlockCell GuaranteeConst
HistogramFixedWidth IFFTND IRFFTND Igamma Igammac IsotonicRegression IteratorGetNext IteratorV2 KthOrderStatistic
LSTMBlockCell LowerBound Lu MatrixLogarithm MatrixSolve MatrixSolveLs MatrixSquareRoot Mod Ndtri NearestNeighbors NextAfter
NthElement OneShotIterator ParameterizedTruncatedNormal ParseTensor PyFunc PyFuncStateless QuantizeAndDequantizeV3
QuantizedConcatV2 RFFTND RaggedCountSparseOutput RaggedFillEmptyRows RandomIndexShuffle RandomShuffleQueueV2 ResizeArea
ScaleAndTranslate SelfAdjointEigV2 SerializeManySparse SerializeSparse SetSize SobolSample SparseCountSparseOutput
SparseDenseCwiseAdd SparseDenseCwiseDiv SparseReduceMax SparseReduceMaxSparse SparseSoftmax SparseSplit SparseTensorDenseAdd
Spence StatelessParameterizedTruncatedNormal StatelessRandomBinomial StochasticCastToInt StringNGrams StringUpper Svd
TensorSummaryV2 TopKUnique TopKWithUnique TridiagonalMatMul TridiagonalSolve TruncateMod UnicodeScript UnravelIndex Zeta
"""

BUILTIN = frozenset(_BUILTIN.split())
"""Convert in at least one form: as they are, decomposed into others, or folded away."""

SELECT = frozenset(_SELECT.split())
"""Do not convert in any form tried; an app can link TensorFlow's own kernels for them (Flex, "select TensorFlow operators")."""

CUSTOM = frozenset(_CUSTOM.split())
"""Do not convert in any form tried, and are not among the operators that Flex brings."""

LOOPS = ("TensorArray", "Stack")
"""How TensorFlow 1 keeps values between the steps of a loop; beginnings of operators' names."""

ADVICE = (
    ("AudioSpectrogram|Mfcc|DecodeWav", "compute the audio features in the app, as training did"),
    (
        "Decode(Jpeg|Png|Bmp|Gif|Image|AndCropJpeg|WebP|Jxl)|ExtractJpegShape",
        "decode the picture in the app and give the model its pixels",
    ),
    ("(Decode|Parse|String|Unicode|Regex|StaticRegex).*|AsString|Substr|ReduceJoin", "read text and records in the app"),
    (
        "Iterator.*|OneShotIterator|.*Queue.*|Unstage|ReadFile",
        "this is training's input pipeline; the model starts after it",
    ),
    ("Mutable(Dense)?HashTable.*", "look values up in the app, or with tf.gather in a constant"),
    ("(Eager)?PyFunc(Stateless)?", "Python code is not part of a graph; write it with TensorFlow's operators"),
    (
        "TensorArray.*|Stack(Push|Pop)?(V2)?",
        (
            "a loop of TensorFlow 1 is unrolled where its number of steps is static: state every input's whole shape, or export "
            "the model again with a tf.keras.layers.RNN"
        ),
    ),
    ("NonMaxSuppression.*", "tf.image.non_max_suppression of TensorFlow 2 writes NonMaxSuppressionV3, which converts"),
    ("CropAndResize", "for boxes known beforehand, slice the image and use tf.image.resize"),
    ("ResizeArea|ResizeBicubic", "ResizeBilinear and ResizeNearestNeighbor convert"),
    ("ExtractImagePatches", "tf.nn.conv2d with an identity for its kernel gives the same patches"),
    ("FusedBatchNormV2", "FusedBatchNormV3 converts, which newer versions of TensorFlow write; export the graph again"),
    ("Print", "export the graph without tf.Print"),
    (
        "Stateless(Random|Truncated|Multinomial).*",
        "give it a constant seed and a constant shape, and its numbers become part of the model; or take them as an input",
    ),
    ("ClipByValue", "tf.clip_by_value of TensorFlow 2 writes Minimum and Maximum, which convert"),
    ("AccumulateNV2", "tf.add_n is the same and converts"),
    ("Atan", "tf.math.atan2(x, tf.ones_like(x)) is the same and converts"),
    ("Diag", "tf.linalg.diag of TensorFlow 2 writes MatrixDiagV3, which converts"),
)
"""Patterns of operators' names, and what may stand in their place. The first that fits counts."""
